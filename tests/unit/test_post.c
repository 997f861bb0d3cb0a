/* Answers of the post: what they hold, and texts that are no UTF-8. */
#include "proto/post.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static int sent, last_body, last_code;
static char last_text[SORA_FAULT_TEXT_SIZE];

/* Holds a message to the rules, as a link does. */
static int reply(void *owner, const struct sora_origin *origin, Farm__Message *message,
                 const void *payload, size_t payload_size, struct sora_fault *fault)
{
    assert_null(owner);
    assert_int_equal(origin->id, 7);
    assert_true(payload == NULL && payload_size == 0);
    size_t size;
    message->id = 1;
    message->reply_to = origin->id;
    int rc = sora_message_size(message, &size, fault);
    if (rc)
        return rc;
    sent++;
    last_body = message->body_case;
    if (last_body == FARM__MESSAGE__BODY_REFUSAL) {
        last_code = message->refusal->code;
        snprintf(last_text, sizeof(last_text), "%s", message->refusal->text);
    }
    return SORA_OK;
}

static const struct sora_post post = {.reply = reply};
static const struct sora_origin origin = {.peer = 1, .id = 7};

static void answers_are_sent(void **state)
{
    (void)state;
    sent = 0;
    sora_post_ack(&post, &origin);
    assert_int_equal(last_body, FARM__MESSAGE__BODY_ACK);
    struct sora_fault fault = {0};
    sora_fault_set(&fault, SORA_E_SPACE, "no room for %s", "Übung");
    sora_post_refuse(&post, &origin, &fault);
    assert_int_equal(sent, 2);
    assert_int_equal(last_body, FARM__MESSAGE__BODY_REFUSAL);
    assert_int_equal(last_code, SORA_E_SPACE);
    assert_string_equal(last_text, "no room for Übung");
}

static void texts_that_are_no_utf8_are_sent_all_the_same(void **state)
{
    (void)state;
    sent = 0;
    struct sora_fault fault = {0};
    sora_fault_set(&fault, SORA_E_NOT_FOUND, "no file %s", "caf\xe9");
    sora_post_refuse(&post, &origin, &fault);
    assert_int_equal(sent, 1);
    assert_string_equal(last_text, "no file caf?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_sent),
        cmocka_unit_test(texts_that_are_no_utf8_are_sent_all_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
