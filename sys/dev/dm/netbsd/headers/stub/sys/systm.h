/* As sys/sys/systm.h. */
typedef int (*copyin_t)(const void *, void *, unsigned long);
typedef int (*copyout_t)(const void *, void *, unsigned long);
