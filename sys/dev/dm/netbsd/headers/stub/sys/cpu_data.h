/* As the head of sys/sys/cpu_data.h. */
#include <sys/sched.h>
struct lwp;
struct cpu_data {
	struct schedstate_percpu cpu_schedstate;
	struct lwp *cpu_idlelwp;
};
#define ci_schedstate ci_data.cpu_schedstate
