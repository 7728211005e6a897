import assert from 'node:assert/strict';
import { test } from 'node:test';
import { linuxCommandLine } from './command-line.ts';

test('what the user appends comes last, where Linux lets it win', () => {
  assert.equal(linuxCommandLine({ append: ' panic=0 quiet ' }), 'console=ttyS0 panic=-1 panic=0 quiet');
  assert.equal(linuxCommandLine({}), 'console=ttyS0 panic=-1');
});

test('a window and its terminal type are passed on', () => {
  const window = { columns: 120, rows: 40 };
  assert.match(linuxCommandLine({ window }, 'xterm-256color'), / lodger.cols=120 lodger.rows=40 lodger.term=xterm-256/);
  assert.doesNotMatch(linuxCommandLine({ window }, 'a b="'), /lodger.term/);
});

test('a filter is quiet', () => {
  assert.match(linuxCommandLine({ filter: true }), / quiet lodger.filter=1$/);
});
