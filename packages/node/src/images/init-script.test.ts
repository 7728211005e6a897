import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { initScript } from './init-script.ts';

const script = initScript({
  release: '6.1.0',
  transport: ['kernel/a.ko', 'kernel/b.ko'],
  byDevice: new Map([[2, ['kernel/blk.ko']]]),
});

/** Runs the script's own function that reads options, on a command line of ours. */
function option(commandLine: string, name: string): string {
  const start = script.indexOf('value() {');
  const body = script.slice(start, script.indexOf('\n}\n', start) + 3);
  const shell = spawnSync('sh', ['-c', `cmdline=$1\n${body}\nvalue "$2"; printf %s "$v"`, 'sh', commandLine, name]);
  assert.equal(shell.status, 0, shell.stderr.toString());
  return shell.stdout.toString();
}

describe("the default guest's /init", () => {
  it('is a script that a POSIX shell can read', () => {
    const { status, stderr } = spawnSync('sh', ['-n'], { input: script });
    assert.deepEqual([status, stderr.toString()], [0, '']);
  });
  it('loads the transport, then what each device needs', () => {
    assert.match(script, /modules=\/lib\/modules\/6\.1\.0\n/);
    assert.match(script, /\nload kernel\/a\.ko kernel\/b\.ko\n/);
    assert.match(script, /\n {4}0x0002\) load kernel\/blk\.ko ;;\n/);
  });
  it('takes options from the kernel command line', () => {
    assert.equal(option('quiet lodger.cols=80 lodger.rows=25', 'cols'), '80');
    assert.equal(option('quiet lodger.cols=80 lodger.rows=25', 'rows'), '25');
    assert.equal(option('lodger.exec=true', 'exec'), 'true');
    assert.equal(
      option('lodger.exec="dd if=/dev/zero | wc -c; echo \'*\'" quiet', 'exec'),
      "dd if=/dev/zero | wc -c; echo '*'",
    );
    assert.equal(option('lodger.cols=80 x lodger.cols=90', 'cols'), '90');
    assert.equal(option('notlodger.cols=80 lodger.colsx=1', 'cols'), '');
    assert.equal(option('', 'cols'), '');
  });
});
