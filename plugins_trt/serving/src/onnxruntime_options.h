// How the sessions of a bundle run: threads, and where.
#pragma once

#include "deployrec/options.h"
#include "onnxruntime_api.h"

namespace deployrec {

// `is_large`: the item table is read as it lies, not packed into a copy in each session.
Status make_session_options(const OnnxRuntime& runtime, const Options& options, bool is_large,
                            OrtOwned<OrtSessionOptions>* made);

}  // namespace deployrec
