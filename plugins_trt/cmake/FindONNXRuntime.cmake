# Finds ONNX Runtime's C header and, where there is one, its library, which is opened at run time and never linked.
#   ONNXRUNTIME_ROOT (variable or environment) is searched first, then /usr/local/onnxruntime, then the system's folders;
#   for the library also the pip wheel of the Python that is on the PATH.
# Defines ONNXRuntime_FOUND, ONNXRuntime_LIBRARY (maybe not found) and ONNXRuntime::headers.

find_path(ONNXRuntime_INCLUDE_DIR onnxruntime_c_api.h
  HINTS ${ONNXRUNTIME_ROOT} ENV ONNXRUNTIME_ROOT
  PATHS /usr/local/onnxruntime
  PATH_SUFFIXES include include/onnxruntime include/onnxruntime/core/session)

find_library(ONNXRuntime_LIBRARY onnxruntime
  HINTS ${ONNXRUNTIME_ROOT} ENV ONNXRUNTIME_ROOT
  PATHS /usr/local/onnxruntime
  PATH_SUFFIXES lib lib64)
if(NOT ONNXRuntime_LIBRARY)
  find_program(ONNXRuntime_PYTHON NAMES python3 python)
  if(ONNXRuntime_PYTHON)
    execute_process(
      COMMAND "${ONNXRuntime_PYTHON}" -c
        "import importlib.util as u; print(u.find_spec('onnxruntime').submodule_search_locations[0])"
      OUTPUT_VARIABLE wheel OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    file(GLOB libraries "${wheel}/capi/libonnxruntime.so.*")
    if(wheel AND libraries)
      list(GET libraries 0 library)
      set(ONNXRuntime_LIBRARY "${library}" CACHE FILEPATH "ONNX Runtime's library" FORCE)
    endif()
  endif()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(ONNXRuntime REQUIRED_VARS ONNXRuntime_INCLUDE_DIR)
mark_as_advanced(ONNXRuntime_INCLUDE_DIR ONNXRuntime_LIBRARY ONNXRuntime_PYTHON)

if(ONNXRuntime_FOUND AND NOT TARGET ONNXRuntime::headers)
  add_library(ONNXRuntime::headers INTERFACE IMPORTED)
  target_include_directories(ONNXRuntime::headers SYSTEM INTERFACE "${ONNXRuntime_INCLUDE_DIR}")
endif()
