import { test } from 'node:test';
import { runContract } from './engine-suite.ts';
import { kvmSkips, kvmUnderTest, whyNoKvm } from './kvm-under-test.ts';

const reason = whyNoKvm();
if (reason !== undefined) test('the kvm engine', { skip: reason }, () => {});
else {
  const skip = kvmSkips();
  runContract('kvm engine', () => kvmUnderTest({ irqchip: 'kernel' }), { skip });
  runContract('kvm engine, split interrupt controllers', () => kvmUnderTest({ irqchip: 'split' }), { skip });
}
