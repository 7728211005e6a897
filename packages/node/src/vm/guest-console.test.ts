import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createByteRing } from '../threads/byte-ring.ts';
import { ControlBlock } from '../threads/control-block.ts';
import { GuestConsole } from './guest-console.ts';

/** A console with its rings, and the guest's end of them. */
function joined({ outputRing = 1024, inputRing = 16 } = {}) {
  const [output, input] = [createByteRing(outputRing), createByteRing(inputRing)];
  const control = new ControlBlock();
  const console = new GuestConsole({ output, input, control, notifyGuest() {} });
  return {
    console,
    control,
    output,
    prints(text: string) {
      assert.equal(output.write(Buffer.from(text)), text.length);
      console.drain();
    },
    reads() {
      const bytes = new Uint8Array(1024);
      const text = Buffer.from(bytes.subarray(0, input.read(bytes))).toString();
      if (control.takeInputWaits()) console.inputHasRoom();
      return text;
    },
  };
}

test('waitFor finds what was printed before and after the call, and consumes it', async () => {
  const guest = joined();
  guest.prints('one two');
  assert.equal((await guest.console.waitFor(/t(w)o/))[1], 'w');
  const wait = guest.console.waitFor(/two|three/);
  guest.prints(' thr');
  guest.prints('ee four');
  assert.equal((await wait)[0], 'three');
  assert.equal((await guest.console.waitFor(/\w+/))[0], 'four');
});

test('several waits are served in their order', async () => {
  const guest = joined();
  const waits = [guest.console.waitFor(/a/g), guest.console.waitFor(/a/)];
  guest.prints('a');
  await waits[0];
  const second = await Promise.race([waits[1], nextTurn('still waiting')]);
  assert.equal(second, 'still waiting');
  guest.prints('a');
  await waits[1];
});

test('a wait that takes too long says what the guest printed last', async () => {
  const guest = joined();
  guest.prints('login: ');
  await assert.rejects(guest.console.waitFor(/never/, { timeout: 1 }), {
    code: 'WaitTimedOut',
    message: /\/never\/.*"login: "/,
  });
});

test('when the machine ends, waits and the stream end', async () => {
  const guest = joined();
  const wait = guest.console.waitFor(/never/);
  guest.prints('last words');
  guest.console.machineEnded('the guest powered off');
  await assert.rejects(wait, { code: 'MachineEnded', message: /powered off/ });
  assert.equal((await guest.console.toArray()).join(''), 'last words');
});

test('a reader that comes late gets the output from before', async () => {
  const guest = joined();
  guest.prints('early ');
  let seen = '';
  guest.console.on('data', (chunk) => (seen += String(chunk)));
  guest.prints('late');
  await nextTurn();
  assert.equal(seen, 'early late');
});

test('without a reader memory is bounded, and the newest output is kept', async () => {
  const guest = joined({ outputRing: 64 * 1024 });
  const block = 'x'.repeat(60_000);
  for (let i = 0; i < 100; i++) guest.prints(`${block}${i}`);
  guest.console.machineEnded('');
  const text = (await guest.console.toArray()).join('');
  assert.ok(text.length < 400_000, `${text.length} bytes kept`);
  assert.ok(text.endsWith('x99'));
});

test('a reader that stops reading stops the guest: the ring stays full', async () => {
  const guest = joined({ outputRing: 1024 });
  guest.console.on('readable', () => {});
  let total = 0;
  for (let turns = 0; turns < 1000; turns++) {
    total += guest.output.write(new Uint8Array(1024));
    guest.console.drain();
    await nextTurn();
  }
  assert.equal(guest.output.room, 0);
  assert.ok(total < 200_000, `${total} bytes taken`);
});

test('input beyond the ring waits for the guest, and arrives in order', async () => {
  const guest = joined({ inputRing: 4 });
  const written = new Promise((resolve) => guest.console.write('abcdefghij', resolve));
  let got = '';
  while (got.length < 10) got += guest.reads();
  assert.equal(got, 'abcdefghij');
  await written;
});

test('writing to a machine that has ended is not an error', async () => {
  const guest = joined({ inputRing: 4 });
  guest.console.write('abcdefghij');
  guest.console.machineEnded('');
  await new Promise((resolve) => guest.console.write('more', resolve));
});
