/** Which engines there are. */

export type EngineName = 'wasm' | 'kvm';
