import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Random } from '../../../testing/random.ts';
import { Dispatcher, type FlowPlan, planFlow } from './control-flow.ts';

/** What a plan makes of a graph: statements with labels, as they are emitted. */
interface Nest {
  readonly kind: 'block' | 'loop';
  readonly label: number;
  readonly body: Statement[];
}
interface Node {
  readonly kind: 'node';
  readonly node: number;
  next(to: number): Transfer;
}
type Statement = Nest | Node;
/** Where an edge leads: in place, or by a branch to the label of a block or loop, or over the dispatcher. */
type Transfer = { readonly kind: 'inline'; readonly body: Statement[] } | { readonly kind: 'exit' | 'again' | 'dispatch'; readonly label: number }; // prettier-ignore

/** Emits as the translator does. */
function structure(plan: FlowPlan, successors: readonly (readonly number[])[]): Statement[] {
  const node = (at: number): Statement => {
    const transfers = new Map<number, Transfer>();
    const to = at === Dispatcher ? plan.targets : successors[at]!;
    for (const next of to) {
      const kind = plan.edge(at, next);
      if (kind === 'dispatch') transfers.set(next, { kind: 'dispatch', label: Dispatcher });
      else if (kind === 'back') transfers.set(next, { kind: 'again', label: next });
      else if (plan.isMerge(next)) transfers.set(next, { kind: 'exit', label: next });
      else transfers.set(next, { kind: 'inline', body: tree(next) });
    }
    return { kind: 'node', node: at, next: (next) => transfers.get(next)! };
  };
  const within = (at: number, merges: number[]): Statement[] => {
    const outermost = merges.pop();
    if (outermost === undefined) return [node(at)];
    return [{ kind: 'block', label: outermost, body: within(at, merges) }, ...tree(outermost)];
  };
  const tree = (at: number): Statement[] => {
    const body = within(at, [...plan.mergeChildren(at)]);
    return plan.isLoop(at) ? [{ kind: 'loop', label: at, body }] : body;
  };
  return tree(Dispatcher);
}

const MaxSteps = 60;

/** A branch that looks for its label, or the end of the run. */
type Signal = { readonly kind: 'exit' | 'again'; readonly label: number } | 'end';

/** Runs statements from an entry; `choose` picks successors. Answers the nodes that were visited. */
function run(statements: Statement[], entry: number, choose: (node: number) => number | undefined): number[] {
  const visited: number[] = [];
  let dispatchTo = entry;
  const sequence = (list: readonly Statement[]): Signal => {
    for (const statement of list) {
      const signal = statement.kind === 'node' ? visit(statement) : enter(statement);
      const ends = statement.kind === 'block' && signal !== 'end' && signal.kind === 'exit';
      if (!ends || signal.label !== statement.label) return signal;
    }
    throw new Error('control falls off the end');
  };
  const enter = ({ kind, label, body }: Nest): Signal => {
    for (;;) {
      const signal = sequence(body);
      if (kind === 'block' || signal === 'end' || signal.kind !== 'again' || signal.label !== label) return signal;
    }
  };
  const visit = (statement: Node): Signal => {
    let to: number | undefined = dispatchTo;
    if (statement.node !== Dispatcher) {
      visited.push(statement.node);
      if (visited.length > MaxSteps) return 'end';
      to = choose(statement.node);
    }
    if (to === undefined) return 'end';
    const transfer = statement.next(to);
    if (transfer.kind === 'inline') return sequence(transfer.body);
    if (transfer.kind !== 'dispatch') return { kind: transfer.kind, label: transfer.label };
    dispatchTo = to;
    return { kind: 'again', label: Dispatcher };
  };
  sequence(statements);
  return visited;
}

function randomGraph(random: Random): number[][] {
  const nodes = 2 + random.below(9);
  const any = (): number => 1 + random.below(nodes);
  const successors = Array.from({ length: nodes + 1 }, () => Array.from({ length: random.below(3) }, any));
  successors[Dispatcher] = [...new Set(Array.from({ length: 1 + random.below(3) }, any))];
  return successors;
}

describe('structured control flow visits the nodes that the graph says', () => {
  test('random graphs, reducible or not', () => {
    const random = new Random(20261201);
    for (let round = 0; round < 3000; round++) {
      const successors = randomGraph(random);
      const plan = planFlow({ successors });
      const statements = structure(plan, successors);
      for (const entry of successors[Dispatcher]!) {
        const seed = random.below(1 << 30);
        const chooser = (): ((node: number) => number | undefined) => {
          const choices = new Random(seed);
          return (node) => {
            const list = successors[node]!;
            return list.length === 0 ? undefined : list[choices.below(list.length)];
          };
        };
        const choose = chooser();
        const wanted: number[] = [];
        for (let at: number | undefined = entry; at !== undefined && wanted.length <= MaxSteps; at = choose(at))
          wanted.push(at);
        const got = run(statements, entry, chooser());
        assert.deepEqual(got, wanted, `graph ${JSON.stringify(successors)}, entry ${entry}`);
      }
    }
  });

  test('a loop has one label and needs no dispatcher', () => {
    const plan = planFlow({ successors: [[1], [2], [1, 3], []] });
    assert.ok(plan.isLoop(1));
    assert.equal(plan.redispatches, false);
    assert.equal(plan.edge(2, 1), 'back');
  });

  test('a loop with two entries goes over the dispatcher', () => {
    const plan = planFlow({ successors: [[1], [2, 3], [3], [2]] });
    assert.ok(plan.redispatches);
    assert.ok(plan.targets.length > 1);
  });
});
