# Turns CUDA on where nvcc is found, else the CPU build; finds the CUDA headers that TensorRT's own headers include.

include(CheckLanguage)
if(NOT DEPLOYREC_CPU)
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    message(STATUS "nvcc not found: building the logic for the CPU")
    set(DEPLOYREC_CPU ON)
  endif()
endif()

if(NOT DEPLOYREC_CPU)
  # Machine code for every generation from Ampere on that this nvcc knows, and PTX of the newest for what comes later.
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    execute_process(COMMAND "${CMAKE_CUDA_COMPILER}" --list-gpu-arch OUTPUT_VARIABLE known ERROR_QUIET)
    foreach(architecture 80 86 89 90 100 103 120)
      if(known MATCHES "compute_${architecture}\n")
        list(APPEND CMAKE_CUDA_ARCHITECTURES "${architecture}-real")
        set(newest "${architecture}")
      endif()
    endforeach()
    list(APPEND CMAKE_CUDA_ARCHITECTURES "${newest}-virtual")
  endif()
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
  message(STATUS "CUDA architectures: ${CMAKE_CUDA_ARCHITECTURES}")
endif()

find_path(DEPLOYREC_CUDA_INCLUDE_DIR cuda_runtime_api.h
  HINTS ${CUDAToolkit_INCLUDE_DIRS} ENV CUDA_HOME ENV CUDA_PATH
  PATHS /usr/local/cuda
  PATH_SUFFIXES include)
if(DEPLOYREC_CUDA_INCLUDE_DIR)
  add_library(deployrec_cuda_headers INTERFACE)
  target_include_directories(deployrec_cuda_headers SYSTEM INTERFACE "${DEPLOYREC_CUDA_INCLUDE_DIR}")
else()
  message(STATUS "cuda_runtime_api.h not found: the kernels and the plugin are left out")
endif()
