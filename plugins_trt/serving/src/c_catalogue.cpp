// deployrec.h over Catalogue.
#include <algorithm>
#include <memory>
#include <vector>

#include "c_error.h"
#include "deployrec.h"
#include "deployrec/catalogue.h"

using deployrec::answered;
using deployrec::Status;
using deployrec::StatusCode;

struct deployrec_catalogue {
  std::unique_ptr<deployrec::Catalogue> items;
};

int deployrec_catalogue_load(const char* bundle, deployrec_catalogue** catalogue) {
  return answered([&] {
    auto made = std::make_unique<deployrec_catalogue>();
    Status status = deployrec::Catalogue::load(bundle, &made->items);
    if (status.ok()) *catalogue = made.release();
    return status;
  });
}

void deployrec_catalogue_free(deployrec_catalogue* catalogue) { delete catalogue; }

int64_t deployrec_item_row(const deployrec_catalogue* catalogue, const char* item_id) {
  return catalogue->items->row(item_id);
}

const char* deployrec_item_id(const deployrec_catalogue* catalogue, int64_t row) {
  return catalogue->items->item_id(row).c_str();
}

const char* deployrec_item_title(const deployrec_catalogue* catalogue, int64_t row) {
  return catalogue->items->title(row).c_str();
}

int deployrec_where(const deployrec_catalogue* catalogue, const char* condition, int64_t* rows, size_t* count) {
  return answered([&]() -> Status {
    std::vector<int64_t> found;
    Status status = catalogue->items->fitting(condition, &found);
    if (!status.ok()) return status;
    const size_t room = *count;
    *count = found.size();
    if (found.size() > room) {
      return {StatusCode::kInvalidArgument, "expected room for " + std::to_string(found.size()) + " rows; got room for " +
                                                std::to_string(room) + "; call again with more"};
    }
    std::copy(found.begin(), found.end(), rows);
    return status;
  });
}
