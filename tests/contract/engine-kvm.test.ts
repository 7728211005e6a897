import { test } from 'node:test';
import { runContract } from './engine-suite.ts';
import { kvmSkips, kvmUnderTest, whyNoKvm } from './kvm-under-test.ts';

const reason = whyNoKvm();
if (reason !== undefined) test('the kvm engine', { skip: reason }, () => {});
else runContract('kvm engine', () => kvmUnderTest({ irqchip: 'kernel' }), { skip: kvmSkips() });
