/* The C interface of deployrec's serving library, for other languages: the same engine as deployrec/serving.h.
 *
 * Every function that returns an int returns 0, or one of the DEPLOYREC_ codes; deployrec_error then has one line that
 * says what was expected, what came and what to do. Arrays are the caller's, read or filled during the call. A
 * recommender may be shared between threads, a deployrec_graphs may not. */
#ifndef DEPLOYREC_H
#define DEPLOYREC_H

#include <stddef.h>
#include <stdint.h>

#if defined(__cplusplus)
extern "C" {
#endif

#define DEPLOYREC_API __attribute__((visibility("default")))

enum {
  DEPLOYREC_OK = 0,
  DEPLOYREC_INVALID_ARGUMENT,
  DEPLOYREC_FILE,
  DEPLOYREC_WRONG_ENGINE,
  DEPLOYREC_MISSING_PLAN,
  DEPLOYREC_STALE_STATE,
  DEPLOYREC_FULL,
  DEPLOYREC_DEVICE,
  DEPLOYREC_OUT_OF_MEMORY
};

/* Of the calling thread's last failed call; valid until its next one. */
DEPLOYREC_API const char* deployrec_error(void);

/* Options by the names of deployrec/options.h, as text: "bundle" -> "bundles/recblr", "max_users" -> "1000000",
 * "eviction" -> "least_recently_used" or "refuse", "storage" -> "float32" or "float16", "provider" -> "cpu", "cuda" or
 * "tensorrt"; true and false are "1" and "0". */
typedef struct deployrec_options deployrec_options;
DEPLOYREC_API deployrec_options* deployrec_options_new(void);
DEPLOYREC_API int deployrec_options_set(deployrec_options* options, const char* name, const char* value);
DEPLOYREC_API void deployrec_options_free(deployrec_options* options);

typedef struct deployrec_recommender deployrec_recommender;
DEPLOYREC_API int deployrec_load(const deployrec_options* options, deployrec_recommender** recommender);
DEPLOYREC_API void deployrec_free(deployrec_recommender* recommender);

/* Events in order: users [count], item_rows [count]. */
DEPLOYREC_API int deployrec_observe(deployrec_recommender* recommender, const int64_t* users, const int64_t* item_rows,
                                    size_t count);
/* And the k best items after each: best_rows [count, k], scores [count, k]; row 0 where no more are left. */
DEPLOYREC_API int deployrec_observe_and_recommend(deployrec_recommender* recommender, const int64_t* users,
                                                  const int64_t* item_rows, size_t count, int64_t k,
                                                  int64_t* best_rows, float* scores);
DEPLOYREC_API int deployrec_recommend(deployrec_recommender* recommender, const int64_t* users, size_t count, int64_t k,
                                      int64_t* best_rows, float* scores);
/* Which items a list may hold: item rows, of those that deployrec_where finds, say. */
typedef struct deployrec_choice {
  int is_limited;      /* 0: the whole catalogue may come, and `only` is not read */
  const int64_t* only; /* else all that may come [only_count] */
  size_t only_count;
  const int64_t* exclude; /* what may not [exclude_count] */
  size_t exclude_count;
} deployrec_choice;
/* The same lists under a choice, that of every event and user of the call. */
DEPLOYREC_API int deployrec_observe_and_recommend_among(deployrec_recommender* recommender, const int64_t* users,
                                                        const int64_t* item_rows, size_t count,
                                                        const deployrec_choice* choice, int64_t k, int64_t* best_rows,
                                                        float* scores);
DEPLOYREC_API int deployrec_recommend_among(deployrec_recommender* recommender, const int64_t* users, size_t count,
                                            const deployrec_choice* choice, int64_t k, int64_t* best_rows,
                                            float* scores);
/* One user's history; without `resume` in place of what the user had. */
DEPLOYREC_API int deployrec_encode(deployrec_recommender* recommender, int64_t user, const int64_t* item_rows,
                                   size_t count, int resume);
DEPLOYREC_API int deployrec_forget(deployrec_recommender* recommender, int64_t user);
DEPLOYREC_API int deployrec_warm_up(deployrec_recommender* recommender, const int64_t* batches, size_t count, int64_t k);

DEPLOYREC_API int deployrec_save(deployrec_recommender* recommender, const char* path);
DEPLOYREC_API int deployrec_restore(deployrec_recommender* recommender, const char* path);
/* A user's record, in the bytes of Python's stores: `size` is the room at `record`, and then the record's size. With too
 * little room DEPLOYREC_INVALID_ARGUMENT, and `size` says how much it takes. */
DEPLOYREC_API int deployrec_export_user(deployrec_recommender* recommender, int64_t user, void* record, size_t* size);
DEPLOYREC_API int deployrec_import_user(deployrec_recommender* recommender, int64_t user, const void* record,
                                        size_t size);
DEPLOYREC_API int deployrec_swap_bundle(deployrec_recommender* recommender, const deployrec_options* options);

DEPLOYREC_API int64_t deployrec_users(const deployrec_recommender* recommender);
/* Fills users [room], the least recently used first; returns how many there are. */
DEPLOYREC_API int64_t deployrec_user_list(const deployrec_recommender* recommender, int64_t* users, size_t room);
DEPLOYREC_API int64_t deployrec_events_of(const deployrec_recommender* recommender, int64_t user);
DEPLOYREC_API int64_t deployrec_num_items(const deployrec_recommender* recommender);
DEPLOYREC_API int64_t deployrec_max_k(const deployrec_recommender* recommender);
/* A counter of deployrec/serving.h by its name; -1 for another name. */
DEPLOYREC_API double deployrec_counter(const deployrec_recommender* recommender, const char* name);

/* A bundle's items by their own ids, see deployrec/catalogue.h. Texts live as long as the catalogue. */
typedef struct deployrec_catalogue deployrec_catalogue;
DEPLOYREC_API int deployrec_catalogue_load(const char* bundle, deployrec_catalogue** catalogue);
DEPLOYREC_API void deployrec_catalogue_free(deployrec_catalogue* catalogue);
DEPLOYREC_API int64_t deployrec_item_row(const deployrec_catalogue* catalogue, const char* item_id); /* 0: unknown */
DEPLOYREC_API const char* deployrec_item_id(const deployrec_catalogue* catalogue, int64_t row);
DEPLOYREC_API const char* deployrec_item_title(const deployrec_catalogue* catalogue, int64_t row);
/* Rows, rising, of the items that fit a condition such as "genre has 'Comedy' and year >= 1990": `count` is the room at
 * `rows`, and then how many they are. With too little room DEPLOYREC_INVALID_ARGUMENT. */
DEPLOYREC_API int deployrec_where(const deployrec_catalogue* catalogue, const char* condition, int64_t* rows,
                                  size_t* count);

/* A bundle's graphs by themselves, for callers who keep the states. All tensors are packed for the batch. */
typedef struct deployrec_graphs deployrec_graphs;

typedef struct deployrec_run {
  const char* graph;      /* "step", "advance", "encode" or "score" */
  int64_t batch;          /* B */
  int64_t time;           /* T of encode, else 1 */
  int64_t k;              /* of step and score, else 0 */
  int64_t excluded;       /* E, likewise */
  int64_t* items;         /* [B], of encode [B, T] */
  int64_t* lengths;       /* [B], of encode */
  int64_t* exclude;       /* [B, E] */
  float** past;           /* each state [B, ...], in the manifest's order */
  float** present;        /* likewise */
  int64_t* topk_items;    /* [B, k] */
  float* topk_scores;     /* [B, k] */
  float* user;            /* [B, D]: read by score, filled by the others */
} deployrec_run;

DEPLOYREC_API int deployrec_graphs_open(const deployrec_options* options, deployrec_graphs** graphs);
/* Item rows and k are the caller's to check. Tensors at the addresses of an earlier run of the same sizes are bound
 * already. */
DEPLOYREC_API int deployrec_graphs_run(deployrec_graphs* graphs, const deployrec_run* run);
DEPLOYREC_API void deployrec_graphs_free(deployrec_graphs* graphs);

#if defined(__cplusplus)
}
#endif

#endif
