#pragma once
/* What machine/mutex.h and we want of it. */
typedef uint8_t ipl_t;
typedef struct { ipl_t _ipl; } ipl_cookie_t;
#define IPL_NONE 0
#define IPL_VM 5
