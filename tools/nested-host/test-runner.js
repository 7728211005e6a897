/**
 * Runs test files inside the nested host and tells their results as lines of JSON for tools/test.js outside:
 * `node tools/nested-host/test-runner.js FILE…`. What tests print goes to stderr.
 */
import { relative } from 'node:path';
import { performance } from 'node:perf_hooks';
import { run } from 'node:test';

/** The most time for one file, in milliseconds: what the longest takes on a host that has a third of a core for it. */
const Patience = 900_000;

/** The parts of an event that tools/test.js looks at, as they survive JSON. */
function summary({ type, data }) {
  const { name, file, skip, todo, details } = data;
  const { error } = details;
  const cause = error?.cause ?? error;
  const failure = error && { failureType: error.failureType, cause: { stack: String(cause?.stack ?? cause) } };
  return { type, data: { name, file, skip, todo, details: { ...details, error: failure } } };
}

for (const file of process.argv.slice(2)) {
  const started = performance.now();
  for await (const event of run({ files: [file], concurrency: 1, timeout: Patience })) {
    const { type, data } = event;
    if (type === 'test:stdout' || type === 'test:stderr') process.stderr.write(data.message);
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    process.stdout.write(`${JSON.stringify(summary(event))}\n`);
  }
  process.stderr.write(`${((performance.now() - started) / 1000).toFixed(1)} s ${relative('', file)}\n`);
}
