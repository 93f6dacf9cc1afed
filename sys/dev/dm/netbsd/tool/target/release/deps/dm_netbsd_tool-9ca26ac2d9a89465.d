/work/wt/netbsd/sys/dev/dm/netbsd/tool/target/release/deps/dm_netbsd_tool-9ca26ac2d9a89465.d: /work/wt/netbsd/clippy.toml src/main.rs src/bind.rs src/check.rs src/elf.rs Cargo.toml

/work/wt/netbsd/sys/dev/dm/netbsd/tool/target/release/deps/libdm_netbsd_tool-9ca26ac2d9a89465.rmeta: /work/wt/netbsd/clippy.toml src/main.rs src/bind.rs src/check.rs src/elf.rs Cargo.toml

/work/wt/netbsd/clippy.toml:
src/main.rs:
src/bind.rs:
src/check.rs:
src/elf.rs:
Cargo.toml:

# env-dep:CLIPPY_ARGS=-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__
# env-dep:CLIPPY_CONF_DIR
