/* A home and a node on loopback, not yet admitted, as the tests of links have them. */
#ifndef SORA_TESTS_LINK_PAIR_H
#define SORA_TESTS_LINK_PAIR_H

#include "tests/unit/link_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct end home, node;
static struct end *const both[] = {&home, &node};

static inline int pair_setup(void **state)
{
    (void)state;
    end_init(&home, "brook");
    end_init(&node, "heath");
    struct sora_link_params params = end_params(&home, true);
    end_open(&home, &params);
    params = end_params(&node, false);
    end_open(&node, &params);
    return 0;
}

static inline int pair_teardown(void **state)
{
    (void)state;
    end_fini(&home);
    end_fini(&node);
    return 0;
}

static inline sora_peer dial(void)
{
    sora_peer peer = 0;
    assert_int_equal(sora_link_dial(node.link, &home.studio.identity,
                                    sora_link_endpoint(home.link, SORA_CHANNEL_CONTROL), &peer,
                                    NULL),
                     SORA_OK);
    return peer;
}

static inline bool are_up(struct end *const *ends)
{
    return ends[0]->ups > 0 && ends[1]->ups > 0;
}

static inline bool node_down(struct end *const *ends)
{
    return ends[1]->downs > 0;
}

#endif
