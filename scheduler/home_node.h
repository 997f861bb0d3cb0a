/* Shared by the files of the home only: a member as its adverts tell of it. */
#ifndef SORA_SCHEDULER_HOME_NODE_H
#define SORA_SCHEDULER_HOME_NODE_H

#include "scheduler/home.h"

#define HOME_MODELS_MAX 64
#define HOME_MODEL_USUAL "mini" /* of several, the one that a job without a model gets */
#define HOME_SPEEDS_MAX 16

struct home_speed {
    uint64_t key; /* home_model_key */
    int64_t window_us, decode_us;
};
struct home_device {
    char id[65], class_text[129];
    char int8_class_text[129]; /* that it may change to; "": none */
    bool is_card, is_int8;     /* by kind and class; fp8 too */
    uint64_t memory_total;
    int threads;
    int speed_count;
    struct home_speed speeds[HOME_SPEEDS_MAX];
};
struct home_model {
    unsigned char digest[SORA_DIGEST_SIZE];
    char name[129];
};
struct home_node {
    unsigned char id[SORA_NODE_ID_SIZE], root[SORA_KEY_PUBLIC_SIZE];
    uint64_t number; /* the first 8 bytes of its id: the same after a restart */
    char name[SORA_NAME_SIZE];
    sora_time heard;
    int device_count, model_count;
    bool offered[SORA_FARM_NODE_DEVICES_MAX];
    struct home_device devices[SORA_FARM_NODE_DEVICES_MAX];
    struct home_model models[HOME_MODELS_MAX];
};

#endif
