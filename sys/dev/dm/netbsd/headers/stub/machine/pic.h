/* As sys/arch/x86/include/pic.h. */
#define INTRIDBUF 64
#define INTRDEVNAMEBUF 256
