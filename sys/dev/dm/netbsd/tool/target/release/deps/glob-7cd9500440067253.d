/work/wt/netbsd/sys/dev/dm/netbsd/tool/target/release/deps/glob-7cd9500440067253.d: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/glob-0.3.4/src/lib.rs

/work/wt/netbsd/sys/dev/dm/netbsd/tool/target/release/deps/libglob-7cd9500440067253.rlib: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/glob-0.3.4/src/lib.rs

/work/wt/netbsd/sys/dev/dm/netbsd/tool/target/release/deps/libglob-7cd9500440067253.rmeta: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/glob-0.3.4/src/lib.rs

/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/glob-0.3.4/src/lib.rs:
