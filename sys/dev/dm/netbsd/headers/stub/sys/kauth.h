/* As sys/sys/kauth.h. */
typedef struct kauth_cred *kauth_cred_t;
