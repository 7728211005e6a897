/** Hypercalls that reach the machine: none is offered there (an engine answers those that it offers). */

/** KVM_ENOSYS (Linux include/uapi/linux/kvm_para.h). */
export const HypercallUnknown = BigInt.asUintN(64, -1000n);
