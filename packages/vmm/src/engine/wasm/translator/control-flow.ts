/**
 * Structured control flow from a graph of blocks (Norman Ramsey, "Beyond Relooper: Recursive Translation of Unstructured
 * Control Flow to Structured Control Flow", ICFP 2022): a loop for each target of a backward edge, a wasm block for each
 * node where forward edges meet, everything else in place.
 *
 * Node 0 is the dispatcher: it goes to any of its targets by number. It is the entry, where computed jumps arrive, and what
 * makes an irreducible graph reducible: an edge into the middle of a loop goes through it.
 */
export const Dispatcher = 0;

export interface FlowGraph {
  /** Successors by node, in no order; node 0 is the dispatcher, whose successors are its targets. */
  readonly successors: readonly (readonly number[])[];
}

export interface FlowPlan {
  /** The dispatcher's targets: those of the graph, and those that make it reducible. */
  readonly targets: readonly number[];
  /** Whether the dispatcher is gone back to. */
  readonly redispatches: boolean;
  /** Position in reverse postorder; -1 for nodes that cannot be reached. */
  readonly order: readonly number[];
  /** Nodes that a backward edge leads to. */
  isLoop(node: number): boolean;
  /** Nodes that need a label at their start for forward edges. */
  isMerge(node: number): boolean;
  /** Children in the dominator tree that are merge nodes, first in reverse postorder first. */
  mergeChildren(node: number): readonly number[];
  /** How an edge is taken. */
  edge(from: number, to: number): 'back' | 'dispatch' | 'forward';
}

export function planFlow(graph: FlowGraph): FlowPlan {
  const count = graph.successors.length;
  const targets = [...graph.successors[Dispatcher]!];
  /** Edges that go through the dispatcher, as from * count + to. */
  const redirected = new Set<number>();
  for (;;) {
    const successors = graph.successors.map((list, from) =>
      from === Dispatcher ? targets : list.map((to) => (redirected.has(from * count + to) ? Dispatcher : to)),
    );
    const order = reversePostorder(successors);
    const dominators = immediateDominators(successors, order);
    const irreducible = retreatingEdges(successors, order).filter(([from, to]) => !dominates(dominators, to, from));
    if (irreducible.length === 0) return plan(successors, order, dominators, targets, redirected);
    for (const [from, to] of irreducible) {
      redirected.add(from * count + to);
      if (!targets.includes(to)) targets.push(to);
    }
  }
}

function plan(
  successors: readonly (readonly number[])[],
  order: readonly number[],
  dominators: readonly number[],
  targets: readonly number[],
  redirected: ReadonlySet<number>,
): FlowPlan {
  const count = successors.length;
  const loops = new Set<number>();
  const forwardEdges = new Array<number>(count).fill(0);
  successors.forEach((list, from) => {
    if (order[from]! < 0) return;
    for (const to of list) {
      if (order[to]! <= order[from]!) loops.add(to);
      else forwardEdges[to]!++;
    }
  });
  // A switch needs a label for each of its targets
  if (targets.length > 1 || loops.has(Dispatcher)) for (const target of targets) forwardEdges[target] = 2;
  const isMerge = (node: number): boolean => forwardEdges[node]! > 1;
  const children: number[][] = successors.map(() => []);
  for (let node = 1; node < count; node++) {
    if (order[node]! >= 0 && isMerge(node)) children[dominators[node]!]!.push(node);
  }
  for (const list of children) list.sort((a, b) => order[a]! - order[b]!);
  return {
    targets,
    redispatches: loops.has(Dispatcher),
    order,
    isLoop: (node) => loops.has(node),
    isMerge,
    mergeChildren: (node) => children[node]!,
    edge: (from, to) => {
      if (to === Dispatcher || redirected.has(from * count + to)) return 'dispatch';
      return order[to]! <= order[from]! ? 'back' : 'forward';
    },
  };
}

/** Positions by node, from the dispatcher; -1 where it does not lead to. */
function reversePostorder(successors: readonly (readonly number[])[]): number[] {
  const post: number[] = [];
  const seen = new Set<number>([Dispatcher]);
  const stack: { node: number; next: number }[] = [{ node: Dispatcher, next: 0 }];
  for (let top = stack.at(-1); top; top = stack.at(-1)) {
    const successor = successors[top.node]![top.next++];
    if (successor === undefined) {
      post.push(top.node);
      stack.pop();
    } else if (!seen.has(successor)) {
      seen.add(successor);
      stack.push({ node: successor, next: 0 });
    }
  }
  const order = new Array<number>(successors.length).fill(-1);
  post.reverse().forEach((node, position) => (order[node] = position));
  return order;
}

/** Cooper, Harvey and Kennedy, "A Simple, Fast Dominance Algorithm". */
function immediateDominators(successors: readonly (readonly number[])[], order: readonly number[]): number[] {
  const predecessors: number[][] = successors.map(() => []);
  successors.forEach((list, from) => {
    if (order[from]! >= 0) for (const to of list) predecessors[to]!.push(from);
  });
  const nodes = order.map((_, node) => node).filter((node) => order[node]! > 0);
  nodes.sort((a, b) => order[a]! - order[b]!);
  const dominators = new Array<number>(successors.length).fill(-1);
  dominators[Dispatcher] = Dispatcher;
  const intersect = (a: number, b: number): number => {
    while (a !== b) {
      while (order[a]! > order[b]!) a = dominators[a]!;
      while (order[b]! > order[a]!) b = dominators[b]!;
    }
    return a;
  };
  for (let changed = true; changed;) {
    changed = false;
    for (const node of nodes) {
      let dominator = -1;
      for (const from of predecessors[node]!) {
        if (dominators[from]! < 0) continue;
        dominator = dominator < 0 ? from : intersect(dominator, from);
      }
      if (dominators[node] !== dominator) {
        dominators[node] = dominator;
        changed = true;
      }
    }
  }
  return dominators;
}

function retreatingEdges(successors: readonly (readonly number[])[], order: readonly number[]): [number, number][] {
  return successors.flatMap((list, from) =>
    order[from]! < 0 ? [] : list.filter((to) => order[to]! <= order[from]!).map((to): [number, number] => [from, to]),
  );
}

function dominates(dominators: readonly number[], a: number, b: number): boolean {
  let node = b;
  while (node !== a && node !== Dispatcher) node = dominators[node]!;
  return node === a;
}
