# Finds TensorRT's headers and, where there is one, its runtime library.
#   TensorRT_ROOT (variable or environment) is searched first, then /usr/local/tensorrt, then the system's folders.
# Defines TensorRT_FOUND, TensorRT_VERSION, TensorRT::headers, and TensorRT::nvinfer if libnvinfer is there as well.

find_path(TensorRT_INCLUDE_DIR NvInfer.h
  HINTS ${TensorRT_ROOT} ENV TensorRT_ROOT
  PATHS /usr/local/tensorrt
  PATH_SUFFIXES include)
find_library(TensorRT_LIBRARY nvinfer
  HINTS ${TensorRT_ROOT} ENV TensorRT_ROOT
  PATHS /usr/local/tensorrt
  PATH_SUFFIXES lib lib64)

# NvInferVersion.h says NV_TENSORRT_MAJOR 10 in one generation, TRT_MAJOR_ENTERPRISE 11 in the next.
if(TensorRT_INCLUDE_DIR AND EXISTS "${TensorRT_INCLUDE_DIR}/NvInferVersion.h")
  set(TensorRT_VERSION "")
  foreach(part MAJOR MINOR PATCH)
    file(STRINGS "${TensorRT_INCLUDE_DIR}/NvInferVersion.h" lines
      REGEX "#define (NV_TENSORRT_${part}|TRT_${part}_ENTERPRISE) [0-9]+")
    string(REGEX MATCH "[0-9]+" number "${lines}")
    list(APPEND TensorRT_VERSION "${number}")
  endforeach()
  list(JOIN TensorRT_VERSION "." TensorRT_VERSION)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(TensorRT REQUIRED_VARS TensorRT_INCLUDE_DIR VERSION_VAR TensorRT_VERSION)
mark_as_advanced(TensorRT_INCLUDE_DIR TensorRT_LIBRARY)

if(TensorRT_FOUND AND NOT TARGET TensorRT::headers)
  add_library(TensorRT::headers INTERFACE IMPORTED)
  target_include_directories(TensorRT::headers SYSTEM INTERFACE "${TensorRT_INCLUDE_DIR}")
endif()
if(TensorRT_FOUND AND TensorRT_LIBRARY AND NOT TARGET TensorRT::nvinfer)
  add_library(TensorRT::nvinfer UNKNOWN IMPORTED)
  set_target_properties(TensorRT::nvinfer PROPERTIES IMPORTED_LOCATION "${TensorRT_LIBRARY}")
  target_link_libraries(TensorRT::nvinfer INTERFACE TensorRT::headers)
endif()
