# The device mapper for config(1). dm_rust.o is what "build.sh object" makes; it lies beside
# this file in the kernel's source tree.

defpseudodev	dm
object		dev/dm/dm_rust.o		dm
