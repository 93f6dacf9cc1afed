//! Bindings of what the glue uses, and of nothing else.

const FUNCTIONS: &[&str] = &[
    "bdev_(discard|dump)",
    "bdevsw_lookup",
    "bdevvp",
    "biodone",
    "buf_destroy",
    "buf_init",
    "config_attach_pseudo",
    "config_cfattach_(attach|detach)",
    "config_cfdriver_(attach|detach)",
    "config_detach",
    "cv_(init|destroy|wait|wait_sig|timedwait|timedwait_sig|signal|broadcast)",
    "device_cfdata",
    "devsw_(attach|detach)",
    "disk_(init|attach|detach|destroy|busy|unbusy|set_info|ioctl)",
    "dkwedge_(delall|discover)",
    "getdisksize",
    "iostat_rename",
    "kmem_(alloc|zalloc|free)",
    "minphys",
    "mutex_(init|destroy|enter|exit|spin_enter|spin_exit)",
    "namei_simple_kernel",
    "physio",
    "pmf_device_(deregister|register1)",
    "pool_cache_(init|destroy|setlowat|get_paddr|put_paddr)",
    "prop_array_(add|capacity|count|create_with_capacity|get)",
    "prop_bool_(create|true)",
    "prop_data_(create_data|data_nocopy|size)",
    "prop_dictionary_(all_keys|create|get|set|get_keysym|keysym_cstring_nocopy)",
    "prop_dictionary_(copyin_ioctl|copyout_ioctl)",
    "prop_number_create_(integer|unsigned_integer)",
    "prop_number_(integer_value|unsigned|unsigned_integer_value)",
    "prop_object_(release|type)",
    "prop_string_(create_cstring|cstring_nocopy)",
    "vn_lock",
    "vput",
    "vrele",
    "VOP_(OPEN|CLOSE|UNLOCK|IOCTL|STRATEGY|GETATTR)",
];

const TYPES: &[&str] = &[
    "bdevsw",
    "buf",
    "cdevsw",
    "cfattach",
    "cfdata",
    "cfdriver",
    "dev_t",
    "disk",
    "disklabel",
    "io_stats",
    "dkdriver",
    "dkwedge_info",
    "kcondvar_t",
    "kmutex_t",
    "lwp",
    "modcmd_t",
    "modinfo",
    "off_t",
    "paddr_t",
    "plistref",
    "proc",
    "timespec",
    "tty",
    "uio",
    "vattr",
];

const VARS: &[&str] = &[
    "B_(READ|WRITE|ASYNC|PHYS|MEDIA_FUA)",
    "BC_BUSY",
    "DETACH_(QUIET|SHUTDOWN)",
    "DM_.*",
    "DISKMAGIC",
    "D_(DISK|MPSAFE)",
    "DV(_DISK|F_(PRIV_ALLOC|DETACH_SHUTDOWN))",
    "EINTR|ERESTART|EWOULDBLOCK|EPASSTHROUGH",
    "FREAD|FWRITE|FSTATE_(STAR|NOTFOUND)",
    "IPL_(NONE|VM)",
    "KM_SLEEP",
    "LK_(EXCLUSIVE|RETRY)",
    "MAXP(ARTITIONS|HYS)",
    "MODULE_C(LASS_DRIVER|MD_.*)",
    "MUTEX_DEFAULT",
    "NSM_FOLLOW_NOEMULROOT",
    "PROP_TYPE_.*",
    "PR_NOWAIT",
    "RAW_PART",
    "S_IF(CHR|BLK)",
    "V(BLK|CHR)",
];

/// What only pointers lead to: its layout is nobody's business.
const OPAQUE: &[&str] = &["vnode", "mount", "file", "uvm_object", "pool_cache", "knote", "tty"];

/// Writes the bindings of `header` to `out`; each layout is asserted within.
pub fn bind(header: &str, out: &str, clang: &[&str]) -> Result<(), String> {
    let target = bindgen::RustTarget::stable(85, 0).map_err(|why| why.to_string())?;
    let mut builder = bindgen::builder()
        .header(header)
        .rust_target(target)
        .use_core()
        .ctypes_prefix("core::ffi")
        .generate_comments(false)
        .generate_inline_functions(false)
        .layout_tests(true)
        .derive_debug(false)
        .prepend_enum_name(false)
        .default_enum_style(bindgen::EnumVariation::Consts)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .clang_args(["-nostdinc", "-ffreestanding"])
        .clang_args(["-D_KERNEL", "-D_MODULE"])
        .clang_args(clang);
    builder = FUNCTIONS.iter().fold(builder, |builder, name| builder.allowlist_function(name));
    builder = TYPES.iter().fold(builder, |builder, name| builder.allowlist_type(name));
    builder = VARS.iter().fold(builder, |builder, name| builder.allowlist_var(name));
    builder = OPAQUE.iter().fold(builder, |builder, name| builder.opaque_type(name));
    let bindings = builder.generate().map_err(|why| format!("{header}: {why}"))?;
    bindings.write_to_file(out).map_err(|why| format!("{out}: {why}"))
}
