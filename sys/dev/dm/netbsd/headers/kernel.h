/* What the bindings are made of. Only headers that every NetBSD installs. */
#include <sys/cdefs.h>
/* Their assertions hold structures without a name, which libclang visits for ever. */
#undef __CTASSERT
#define __CTASSERT(x)
#include <sys/param.h>
#include <sys/types.h>
#include <sys/buf.h>
#include <sys/conf.h>
#include <sys/device.h>
#include <sys/disk.h>
#include <sys/disklabel.h>
#include <sys/dkio.h>
#include <sys/errno.h>
#include <sys/fcntl.h>
#include <sys/intr.h>
#include <sys/ioctl.h>
#include <sys/iostat.h>
#include <sys/kmem.h>
#include <sys/mutex.h>
#include <sys/condvar.h>
#include <sys/lwp.h>
#include <sys/module.h>
#include <sys/namei.h>
#include <sys/pmf.h>
#include <sys/pool.h>
#include <sys/proc.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/vnode.h>
#include <prop/proplib.h>
#include <dev/dm/netbsd-dm.h>

/* Macros that the generator cannot evaluate, as constants. */
enum {
	DM_NETBSD_VERSION = __NetBSD_Version__,
};
static const unsigned int DM_DISKMAGIC = DISKMAGIC;
static const unsigned long DM_CONTROL_IOCTL = NETBSD_DM_IOCTL;
static const unsigned long DM_GDISKINFO = DIOCGDISKINFO;
static const unsigned long DM_GWEDGEINFO = DIOCGWEDGEINFO;
static const unsigned long DM_CACHESYNC = DIOCCACHESYNC;
static const unsigned long DM_GSECTORSIZE = DIOCGSECTORSIZE;
static const unsigned long DM_GMEDIASIZE = DIOCGMEDIASIZE;
static const unsigned long DM_GDINFO = DIOCGDINFO;
static const unsigned long DM_GDEFLABEL = DIOCGDEFLABEL;
static const unsigned long DM_AWEDGE = DIOCAWEDGE;
static const unsigned long DM_DWEDGE = DIOCDWEDGE;
static const unsigned long DM_LWEDGES = DIOCLWEDGES;
static const unsigned long DM_MWEDGES = DIOCMWEDGES;
static const unsigned long DM_WLABEL = DIOCWLABEL;
