/** Structures of state to and from KVM. */
import { kvmIoctl } from '../api/requests.ts';
import type { Struct, StructValue, Type } from '../api/struct.ts';

/** What {@link Struct} asks of its fields. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any
type Fields = Readonly<Record<string, Type<any>>>;

/** A KVM_GET_… request. `question`: what the kernel reads before it answers. */
export function getState<F extends Fields>(
  fd: number,
  request: number,
  type: Struct<F>,
  question?: Parameters<Struct<F>['create']>[0],
): StructValue<F> {
  const buffer = type.create(question);
  kvmIoctl(fd, request, buffer);
  return type.decode(buffer);
}
