/*
 * The least that a program can do for an exit of KVM_RUN: the C side of exits.ts.
 *
 *     exit-loop port|mmio COUNT
 *
 * Prints the nanoseconds of COUNT exits and the processor time of this thread for them.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#define MEMORY_SIZE 0x100000
#define CODE 0x1000
#define DEVICE 0xd0000000

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static long nanoseconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * 1000000000L + now.tv_nsec;
}

/* One exit, with what a VMM has to look at. */
static int is_write(const struct kvm_run *run)
{
	if (run->exit_reason == KVM_EXIT_IO)
		return run->io.direction == KVM_EXIT_IO_OUT && run->io.port == 0x80;
	return run->exit_reason == KVM_EXIT_MMIO && run->mmio.is_write && run->mmio.phys_addr == DEVICE;
}

int main(int argc, char **argv)
{
	/* out dx, al; jmp -3 */
	static const unsigned char port_code[] = { 0xee, 0xeb, 0xfd };
	/* mov [bx], al; jmp -4 */
	static const unsigned char mmio_code[] = { 0x88, 0x07, 0xeb, 0xfc };
	int mmio = argc == 3 && strcmp(argv[1], "mmio") == 0;
	long count = argc == 3 ? atol(argv[2]) : 0;

	if (count <= 0 || (!mmio && strcmp(argv[1], "port") != 0)) {
		fprintf(stderr, "usage: exit-loop port|mmio COUNT\n");
		return 2;
	}
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		fail("/dev/kvm");
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0 || ioctl(vm, KVM_CREATE_IRQCHIP, 0) < 0)
		fail("VM");
	unsigned char *memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region region = { .memory_size = MEMORY_SIZE, .userspace_addr = (__u64)memory };
	if (memory == MAP_FAILED || ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		fail("memory");
	memcpy(memory + CODE, mmio ? mmio_code : port_code, mmio ? sizeof mmio_code : sizeof port_code);
	int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	int run_size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	struct kvm_run *run = mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (vcpu < 0 || run == MAP_FAILED)
		fail("vCPU");
	struct kvm_sregs sregs;
	if (ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0)
		fail("KVM_GET_SREGS");
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	sregs.ds.base = DEVICE;
	sregs.ds.selector = 0;
	struct kvm_regs regs = { .rip = CODE, .rdx = 0x80, .rflags = 2 };
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0 || ioctl(vcpu, KVM_SET_REGS, &regs) < 0)
		fail("registers");
	for (long warm = 0; warm < count / 10; warm++)
		if (ioctl(vcpu, KVM_RUN, 0) < 0 || !is_write(run))
			fail("KVM_RUN");
	long start = nanoseconds(CLOCK_MONOTONIC);
	long used = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
	for (long exits = 0; exits < count; exits++)
		if (ioctl(vcpu, KVM_RUN, 0) < 0 || !is_write(run))
			fail("KVM_RUN");
	used = nanoseconds(CLOCK_THREAD_CPUTIME_ID) - used;
	printf("%ld %ld\n", nanoseconds(CLOCK_MONOTONIC) - start, used);
	return 0;
}
