/* As sys/sys/vmem.h. */
typedef struct vmem vmem_t;
typedef unsigned long vmem_addr_t;
typedef unsigned long vmem_size_t;
