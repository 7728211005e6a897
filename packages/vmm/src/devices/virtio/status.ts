/**
 * The device status field: a state machine, as data.
 *
 * Spec: virtio 1.2 §2.1 "Device Status Field", §3.1 "Device Initialization".
 */

export const DeviceStatus = {
  Acknowledge: 1,
  Driver: 2,
  DriverOk: 4,
  FeaturesOk: 8,
  NeedsReset: 64,
  Failed: 128,
} as const;
export type DeviceStatus = (typeof DeviceStatus)[keyof typeof DeviceStatus];

/** What a step asks of the device. `check-features` may refuse it: the bit then stays clear. */
export type StatusAction = 'none' | 'check-features' | 'activate';

interface StatusStep {
  readonly sets: DeviceStatus;
  /** The bits that must be set before. */
  readonly after: number;
  readonly action: StatusAction;
}

/** The steps of initialization in their order. Status 0 (reset) and Failed can be written at any time. */
export const StatusSteps: readonly StatusStep[] = [
  { sets: DeviceStatus.Acknowledge, after: 0, action: 'none' },
  { sets: DeviceStatus.Driver, after: DeviceStatus.Acknowledge, action: 'none' },
  { sets: DeviceStatus.FeaturesOk, after: DeviceStatus.Acknowledge | DeviceStatus.Driver, action: 'check-features' },
  {
    sets: DeviceStatus.DriverOk,
    after: DeviceStatus.Acknowledge | DeviceStatus.Driver | DeviceStatus.FeaturesOk,
    action: 'activate',
  },
];

/**
 * The status after a driver wrote `written` (not 0) to a device whose status is `current`.
 *
 * Several steps may be taken by one write; a step whose predecessors are missing is ignored, bits that are already set
 * stay set (a driver must not clear them), and after Failed there is only a reset. `allow` runs each step's action and
 * says whether it succeeded.
 */
export function nextStatus(current: number, written: number, allow: (action: StatusAction) => boolean): number {
  if ((current & DeviceStatus.Failed) !== 0) return current;
  let status = current;
  for (const { sets, after, action } of StatusSteps) {
    const wanted = (written & sets) !== 0 && (status & sets) === 0 && (status & after) === after;
    if (wanted && allow(action)) status |= sets;
  }
  return status | (written & DeviceStatus.Failed);
}
