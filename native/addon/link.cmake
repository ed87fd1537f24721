# How the addon is linked on each system: it takes Node's symbols from the process that loads it, shows nothing but its entry,
# and brings its C++ library along.
set(release $<CONFIG:Release>)
if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
  target_link_options(feynkac PRIVATE LINKER:-z,nodelete) # Node unloads it with its last environment, but the pool's threads stay
  if(NOT FEYNKAC_SANITIZE)
    target_link_options(feynkac PRIVATE -static-libstdc++ LINKER:--gc-sections
      LINKER:--version-script,${CMAKE_SOURCE_DIR}/native/addon/exports.map $<${release}:-s>)
    include(CheckCXXSymbolExists)
    check_cxx_symbol_exists(__GLIBC__ cstdlib FEYNKAC_GLIBC)
    if(FEYNKAC_GLIBC AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|aarch64)$")
      file(STRINGS native/addon/glibc_floor.cc turned REGEX "^TURN")
      list(TRANSFORM turned REPLACE "TURN[A-Z_]*.([a-z_]+).*" "LINKER:--wrap,\\1")
      target_link_options(feynkac PRIVATE ${turned})
      target_compile_definitions(feynkac PRIVATE FEYNKAC_GLIBC_FLOOR)
    endif()
  endif()
  if(ZIG_TARGET) # asks for every symbol to be there, which Node's are not
    target_link_options(feynkac PRIVATE LINKER:-z,undefs)
  endif()
elseif(APPLE)
  target_link_options(feynkac PRIVATE LINKER:-undefined,dynamic_lookup LINKER:-dead_strip)
  if(ZIG_TARGET) # whose linker knows neither bundles nor lists of exports: what of the C++ library is visible stays so
    set(CMAKE_SHARED_MODULE_CREATE_CXX_FLAGS -shared)
    target_link_options(feynkac PRIVATE $<${release}:-s>)
  else()
    target_link_options(feynkac PRIVATE $<${release}:LINKER:-x> LINKER:-exported_symbol,_napi_register_module_v1
      LINKER:-exported_symbol,_node_api_module_get_api_version_v1)
  endif()
elseif(MSVC) # CMAKE_JS_SRC has the hook that finds node.exe's symbols in a Node of another name
  if(CMAKE_JS_NODELIB_DEF AND CMAKE_JS_NODELIB_TARGET)
    execute_process(COMMAND ${CMAKE_AR} /def:${CMAKE_JS_NODELIB_DEF} /out:${CMAKE_JS_NODELIB_TARGET} /machine:x64)
  endif()
  target_link_options(feynkac PRIVATE /DELAYLOAD:NODE.EXE)
  target_link_libraries(feynkac PRIVATE delayimp)
elseif(MINGW)
  set(node_library ${CMAKE_BINARY_DIR}/libnode_delay.a)
  execute_process(COMMAND ${CMAKE_DLLTOOL} -d ${CMAKE_JS_NODELIB_DEF} -D node.exe -y ${node_library})
  target_link_libraries(feynkac PRIVATE ${node_library} delayimp)
  target_link_options(feynkac PRIVATE -static $<${release}:-s> LINKER:--no-insert-timestamp) # the same bytes each time
endif()
