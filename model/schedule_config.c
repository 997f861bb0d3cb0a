/* What of a scheduler's settings is supported is a table: the key, its default in diffusers, and
 * the one value that this build runs. */
#include "model/schedule_config.h"

#include <string.h>

enum scheduler_class {
    CLASS_UNIPC = 1,
    CLASS_EULER = 2,
    CLASS_BOTH = 3,
};

struct text_rule {
    enum scheduler_class of;
    const char *key, *fallback, *wanted;
};
static const struct text_rule text_rules[] = {
    {CLASS_UNIPC, "prediction_type", "epsilon", "flow_prediction"},
    {CLASS_UNIPC, "solver_type", "bh2", "bh2"},
    {CLASS_UNIPC, "final_sigmas_type", "zero", "zero"},
};

struct flag_rule {
    enum scheduler_class of;
    const char *key;
    bool fallback, wanted;
};
static const struct flag_rule flag_rules[] = {
    {CLASS_UNIPC, "use_flow_sigmas", false, true},
    {CLASS_UNIPC, "predict_x0", true, true},
    {CLASS_UNIPC, "lower_order_final", true, true},
    {CLASS_UNIPC, "thresholding", false, false},
    {CLASS_EULER, "invert_sigmas", false, false},
    {CLASS_EULER, "stochastic_sampling", false, false},
    {CLASS_BOTH, "use_dynamic_shifting", false, false},
    {CLASS_BOTH, "use_karras_sigmas", false, false},
    {CLASS_BOTH, "use_exponential_sigmas", false, false},
    {CLASS_BOTH, "use_beta_sigmas", false, false},
};

struct number_rule {
    enum scheduler_class of;
    const char *key;
    double fallback, wanted;
};
static const struct number_rule number_rules[] = {
    {CLASS_UNIPC, "solver_order", 2, 2},
    {CLASS_BOTH, "num_train_timesteps", 1000, 1000},
    {CLASS_BOTH, "shift_terminal", 0, 0},
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static int check_texts(const struct sora_config *config, enum scheduler_class class,
                       struct sora_fault *fault)
{
    for (size_t i = 0; i < COUNT_OF(text_rules); i++) {
        const struct text_rule *rule = &text_rules[i];
        const char *value = NULL;
        if (!(rule->of & class))
            continue;
        int rc = sora_config_get_string(config, rule->key, rule->fallback, &value, fault);
        if (rc)
            return rc;
        if (strcmp(value, rule->wanted) != 0)
            return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                                  "scheduler/%s is \"%.60s\"; this build runs \"%s\"", rule->key,
                                  value, rule->wanted);
    }
    return SORA_OK;
}

static int check_flags(const struct sora_config *config, enum scheduler_class class,
                       struct sora_fault *fault)
{
    for (size_t i = 0; i < COUNT_OF(flag_rules); i++) {
        const struct flag_rule *rule = &flag_rules[i];
        bool value = false;
        if (!(rule->of & class))
            continue;
        int rc = sora_config_get_bool(config, rule->key, rule->fallback, &value, fault);
        if (rc)
            return rc;
        if (value != rule->wanted)
            return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                                  "scheduler/%s is %s; this build runs %s", rule->key,
                                  value ? "true" : "false", rule->wanted ? "true" : "false");
    }
    return SORA_OK;
}

static int check_numbers(const struct sora_config *config, enum scheduler_class class,
                         struct sora_fault *fault)
{
    for (size_t i = 0; i < COUNT_OF(number_rules); i++) {
        const struct number_rule *rule = &number_rules[i];
        double value = 0;
        if (!(rule->of & class))
            continue;
        struct sora_config_number spec = {rule->key, rule->fallback, -1e9, 1e9};
        int rc = sora_config_get_number(config, &spec, &value, fault);
        if (rc)
            return rc;
        if (value < rule->wanted || value > rule->wanted)
            return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                                  "scheduler/%s is %g; this build runs %g", rule->key, value,
                                  rule->wanted);
    }
    return SORA_OK;
}

int sora_schedule_params_read(const struct sora_config *config,
                              struct sora_schedule_params *out_params, struct sora_fault *fault)
{
    const char *name = NULL;
    int rc = sora_config_get_string(config, "_class_name", "", &name, fault);
    if (rc)
        return rc;
    enum scheduler_class class;
    if (strcmp(name, "UniPCMultistepScheduler") == 0)
        class = CLASS_UNIPC;
    else if (strcmp(name, "FlowMatchEulerDiscreteScheduler") == 0)
        class = CLASS_EULER;
    else
        return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                              "scheduler/_class_name is \"%.60s\"; this build runs "
                              "UniPCMultistepScheduler and FlowMatchEulerDiscreteScheduler",
                              name);
    rc = check_texts(config, class, fault);
    if (!rc)
        rc = check_flags(config, class, fault);
    if (!rc)
        rc = check_numbers(config, class, fault);
    struct sora_config_number shift = {class == CLASS_UNIPC ? "flow_shift" : "shift", 1.0,
                                       SORA_SCHEDULE_SHIFT_MIN, SORA_SCHEDULE_SHIFT_MAX};
    double value = 1.0;
    if (!rc)
        rc = sora_config_get_number(config, &shift, &value, fault);
    if (rc)
        return rc;
    *out_params = (struct sora_schedule_params){
        .solver = class == CLASS_UNIPC ? SORA_SOLVER_UNIPC : SORA_SOLVER_EULER, .shift = value};
    return SORA_OK;
}
