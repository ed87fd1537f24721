# zig c++ as a cross compiler, for the others to include: Clang and libc++ for the target ZIG_TARGET.
set(CMAKE_C_COMPILER zig cc -target ${ZIG_TARGET})
set(CMAKE_CXX_COMPILER zig c++ -target ${ZIG_TARGET})
set(CMAKE_CXX_ARCHIVE_CREATE "zig ar qc <TARGET> <OBJECTS>")
set(CMAKE_CXX_ARCHIVE_APPEND "zig ar q <TARGET> <OBJECTS>")
set(CMAKE_CXX_ARCHIVE_FINISH "zig ranlib <TARGET>")
