/* PNG and PPM files. */
#include "media/picture.h"

#include "base/files.h"

#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const uint8_t pixels[2 * 3 * 3] = {255, 0, 0, 0,  255, 0,  0,  0,  255,
                                          1,   2, 3, 40, 50,  60, 70, 80, 90};

static void ppm_holds_the_bytes(void **state)
{
    (void)state;
    struct sora_bytes bytes;
    assert_int_equal(sora_picture_write(scratch_path("x.PPM"), 3, 2, pixels, NULL), SORA_OK);
    assert_int_equal(sora_file_read(scratch_path("x.PPM"), 1000, &bytes, NULL), SORA_OK);
    const char head[] = "P6\n3 2\n255\n";
    assert_int_equal(bytes.size, sizeof(head) - 1 + sizeof(pixels));
    assert_memory_equal(bytes.data, head, sizeof(head) - 1);
    assert_memory_equal(bytes.data + sizeof(head) - 1, pixels, sizeof(pixels));
    sora_bytes_fini(&bytes);
}

static uint32_t big_endian(const unsigned char *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static void png_has_its_size_and_kind(void **state)
{
    (void)state;
    struct sora_bytes bytes, again;
    assert_int_equal(sora_picture_write(scratch_path("x.png"), 3, 2, pixels, NULL), SORA_OK);
    assert_int_equal(sora_file_read(scratch_path("x.png"), 1000, &bytes, NULL), SORA_OK);
    assert_memory_equal(bytes.data, "\x89PNG\r\n\x1a\n", 8);
    assert_memory_equal(bytes.data + 12, "IHDR", 4);
    assert_int_equal(big_endian(bytes.data + 16), 3);
    assert_int_equal(big_endian(bytes.data + 20), 2);
    assert_int_equal(bytes.data[24], 8); /* bits */
    assert_int_equal(bytes.data[25], 2); /* RGB */
    sora_bytes_init(&again, 1000);
    assert_int_equal(sora_picture_encode_png(3, 2, pixels, &again, NULL), SORA_OK);
    assert_int_equal(again.size, bytes.size);
    assert_memory_equal(again.data, bytes.data, bytes.size);
    sora_bytes_fini(&again);
    sora_bytes_fini(&bytes);
}

static void bad_sizes_and_places_are_refused(void **state)
{
    (void)state;
    struct sora_fault fault = {0};
    assert_int_equal(sora_picture_write(scratch_path("x.png"), 0, 2, pixels, &fault),
                     SORA_E_INVALID);
    assert_non_null(strstr(fault.text, "0x2"));
    assert_int_equal(sora_picture_write(scratch_path("x.png"), 3, 1 << 20, pixels, NULL),
                     SORA_E_INVALID);
    assert_int_equal(sora_picture_write(scratch_path("no/x.png"), 3, 2, pixels, NULL),
                     SORA_E_NOT_FOUND);
    struct sora_bytes small;
    sora_bytes_init(&small, 20);
    assert_int_equal(sora_picture_encode_png(3, 2, pixels, &small, NULL), SORA_E_FULL);
    sora_bytes_fini(&small);
    assert_int_equal(scratch_entry_count(""), 0);
}

int main(void)
{
#define SCRATCH_TEST(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(ppm_holds_the_bytes),
        SCRATCH_TEST(png_has_its_size_and_kind),
        SCRATCH_TEST(bad_sizes_and_places_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
