/* One rule per field: the tables against the descriptors, and each kind of rule broken once. */
#include "proto/message.h"
#include "proto/validate.h"
#include "tests/unit/proto_fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static bool kind_fits(const ProtobufCFieldDescriptor *field, enum sora_rule_kind kind)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        return kind == SORA_RULE_PART || kind == SORA_RULE_PERHAPS;
    case PROTOBUF_C_TYPE_STRING:
        return kind == SORA_RULE_TEXT || kind == SORA_RULE_LINES;
    case PROTOBUF_C_TYPE_BYTES:
        return kind == SORA_RULE_BYTES || kind == SORA_RULE_MAYBE;
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        return kind == SORA_RULE_REAL;
    case PROTOBUF_C_TYPE_BOOL:
        return kind == SORA_RULE_FLAG;
    case PROTOBUF_C_TYPE_ENUM:
        return kind == SORA_RULE_CHOICE;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_UINT64:
        return kind == SORA_RULE_NUMBER;
    default:
        return false;
    }
}

/* Returns the nesting below `type`; a recursive type would not end. */
static int check_rows(const ProtobufCMessageDescriptor *type, int depth)
{
    assert_true(depth < 8);
    const struct sora_rules *rules = sora_rules_find(type);
    if (!rules)
        fail_msg("no rules for %s", type->name);
    assert_int_equal(rules->count, type->n_fields);
    int deepest = depth;
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        const struct sora_rule *rule = &rules->rows[i];
        if (strcmp(field->name, rule->name) != 0)
            fail_msg("%s: field %s has the rule of %s", type->name, field->name, rule->name);
        if (!kind_fits(field, rule->kind))
            fail_msg("%s.%s has a rule of another kind", type->name, field->name);
        bool repeated = field->label == PROTOBUF_C_LABEL_REPEATED;
        assert_int_equal(repeated, rule->count_max > 0);
        if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
            int below = check_rows(field->descriptor, depth + 1);
            deepest = below > deepest ? below : deepest;
        }
    }
    return deepest;
}

static void every_field_has_its_rule(void **state)
{
    (void)state;
    int deepest = check_rows(&farm__message__descriptor, 0);
    assert_in_range(deepest, 3, 6);
    check_rows(&farm__certificate_body__descriptor, 0);
    check_rows(&farm__revocation_body__descriptor, 0);
    check_rows(&farm__lease_body__descriptor, 0);
    check_rows(&farm__job_spec__descriptor, 0);
}

static void text_is_utf8_without_tricks(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool good, good_lines;
    } rows[] = {
        {"plain", true, true},
        {"\xc3\xa9t\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8e\x88", true, true},
        {"two\nlines\t", false, true},
        {"bell\a", false, false},
        {"\x1b[2J", false, false},
        {"\x7f", false, false},
        {"\xc2\x85", false, false},             /* C1 control */
        {"\xc0\xaf", false, false},             /* overlong slash */
        {"\xe0\x80\xaf", false, false},         /* overlong slash */
        {"\xed\xa0\x80", false, false},         /* surrogate */
        {"\xf4\x90\x80\x80", false, false},     /* beyond 10ffff */
        {"\xf8\x88\x80\x80\x80", false, false}, /* five bytes */
        {"\x80", false, false},
        {"cut \xe2\x82", false, false},
        {"\xff\xfe", false, false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t size = strlen(rows[i].text);
        assert_int_equal(sora_validate_text(rows[i].text, size, false), rows[i].good);
        assert_int_equal(sora_validate_text(rows[i].text, size, true), rows[i].good_lines);
    }
    assert_false(sora_validate_text("a\0b", 3, true));
}

static void refused(const void *message, const char *field)
{
    struct sora_fault fault = {0};
    assert_int_equal(sora_validate_message(message, &fault), SORA_E_FORMAT);
    if (!strstr(fault.text, field))
        fail_msg("the message says '%s', not %s", fault.text, field);
}

static void each_kind_of_rule_refuses(void **state)
{
    (void)state;
    proto_reset(1);
    Farm__ShardStatus *shard = (Farm__ShardStatus *)proto_make(&farm__shard_status__descriptor);
    assert_int_equal(sora_validate_message(&shard->base, NULL), SORA_OK);
    shard->steps_per_s = NAN;
    refused(shard, "steps_per_s");
    shard->steps_per_s = INFINITY;
    refused(shard, "steps_per_s");
    shard->steps_per_s = 1;
    shard->state = (Farm__ShardState)77;
    refused(shard, "state");
    shard->state = (Farm__ShardState)-1;
    refused(shard, "state");
    shard->state = FARM__SHARD_STATE__SHARD_DONE;
    shard->step = 1001;
    refused(shard, "step");
    shard->step = 3;
    shard->node.len = 31;
    refused(shard, "node");
    shard->node.len = 0;
    assert_int_equal(sora_validate_message(&shard->base, NULL), SORA_OK);
    shard->text = (char *)(uintptr_t) "\xff";
    refused(shard, "text");

    Farm__Refusal *refusal = (Farm__Refusal *)proto_make(&farm__refusal__descriptor);
    refusal->code = 5;
    refused(refusal, "code");
    refusal->code = -65;
    refused(refusal, "code");
    Farm__Submit *submit = (Farm__Submit *)proto_make(&farm__submit__descriptor);
    submit->spec = NULL;
    refused(submit, "spec");
}

static void fields_are_held_together(void **state)
{
    (void)state;
    proto_reset(4);
    Farm__ShardAssign *assign = (Farm__ShardAssign *)proto_make(&farm__shard_assign__descriptor);
    assert_int_equal(sora_validate_message(&assign->base, NULL), SORA_OK);
    assign->end = 55; /* the neighbour owns [50,60) */
    refused(assign, "neighbour");
    assign->end = 50;
    assign->schedule->n_timesteps = 1;
    refused(assign, "schedule");
    assign->schedule->n_timesteps = 2;
    assign->n_states = 0;
    refused(assign, "checkpoint");
    assign->step = 0;
    assert_int_equal(sora_validate_message(&assign->base, NULL), SORA_OK);
    assign->timeline->overlap = 20;
    refused(assign, "overlap");
    Farm__Halo *halo = (Farm__Halo *)proto_make(&farm__halo__descriptor);
    halo->offset = halo->size;
    refused(halo, "halo");
    Farm__Hello *hello = (Farm__Hello *)proto_make(&farm__hello__descriptor);
    hello->version_min = 3;
    hello->version_max = 2;
    refused(hello, "version");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_has_its_rule),
        cmocka_unit_test(text_is_utf8_without_tricks),
        cmocka_unit_test(each_kind_of_rule_refuses),
        cmocka_unit_test(fields_are_held_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
