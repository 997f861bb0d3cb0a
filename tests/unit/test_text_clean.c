/* The text clean-up against what the reference (ftfy 6.3.1, Python 3.11) makes of the same texts.
 */
#include "model/text_clean.h"
#include "model/text_fix.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct clean_case {
    const char *text, *cleaned;
};

static const struct clean_case clean_cases[] = {
    /* plain text and white space */
    {"", ""},
    {"   ", ""},
    {"a cat", "a cat"},
    {"  two  spaces\011and\012lines\015\012here ", "two spaces and lines here"},
    {"a\302\240b\343\200\200c\342\200\203d", "a b c d"},
    {"\034\035\036\037", ""},
    {"x\342\200\213y", "x\342\200\213y"},
    {"\357\273\277mark", "mark"},
    {"\302\205", "\342\200\246"},
    {"a\342\200\250b\342\200\251c\013d\014e", "a b cd e"},
    /* quotes, ligatures, widths */
    {"\342\200\234it\342\200\231s\342\200\235 \342\200\230a\342\200\233 \342\200\236b\342"
     "\200\237 \312\274c",
     "\"it's\" 'a' \"b\" 'c"},
    {"\357\254\201\357\254\202\357\254\200\357\254\203\357\254\204\357\254\205\357\254\206",
     "fiflffffiffl\305\277tst"},
    {"\304\262\304\263\305\211\307\204\307\205\307\206\307\207\307\210\307\211\307\212\307"
     "\213\307\214\307\261\307\262\307\263",
     "IJij'nD\305\275D\305\276d\305\276LJLjljNJNjnjDZDzdz"},
    {"\357\274\241\357\274\242\357\274\243\343\200\200\357\274\221\357\274\201", "ABC 1!"},
    {"\357\275\266\357\276\236\357\276\212\357\276\237", "\343\202\254\343\203\221"},
    {"\357\277\243\357\277\246\357\276\240", "\314\204\342\202\251\341\205\240"},
    /* NFC */
    {"e\314\201", "\303\251"},
    {"A\314\212", "\303\205"},
    {"\342\204\253 \342\204\246", "\303\205 \316\251"},
    {"\341\204\200\341\205\241\341\206\250", "\352\260\201"},
    {"\340\245\230", "\340\244\225\340\244\274"},
    {"q\314\243\314\207 q\314\207\314\243", "q\314\243\314\207 q\314\243\314\207"},
    /* controls and terminal escapes */
    {"a\007b", "ab"},
    {"\033[31mred\033[0m", "red"},
    {"\033[1;\331\243m\033[x\033[", "["},
    {"\033[12", "[12"},
    {"a\177b\342\201\252c\357\277\271d\357\277\274e", "abcde"},
    /* references */
    {"&amp; &lt; &gt; &quot; &copy; &hellip;", "& < > \" \302\251 \342\200\246"},
    {"&ampamp; &amp;amp; &amp;amp;amp;lt;", "& & <"},
    {"&notit; &not in", "\302\254it; \302\254 in"},
    {"this&not that &copy2 &COPY &Copy", "this\302\254 that \302\2512 \302\251 &Copy"},
    {"&NTILDE; &EACUTE; &SZLIG; &nTILDE; &FJLIG;", "\303\221 \303\211 SS &nTILDE; FJ"},
    {"&#65;&#x42;&#X43; &#65 &#x42", "ABC A B"},
    {"&#59; &#38;amp; &#x3b;", "; & ;"},
    {"&#0; &#128; &#150; &#x9f; &#129;",
     "\357\277\275 \342\202\254 \342\200\223 \305\270 \302\201"},
    {"&#xd800; &#x110000; &#99999999999; &#xfffe;", "\357\277\275 \357\277\275 \357\277\275"},
    {"&#1; &#11; &#13; &#127; &#xfdd0;", ""},
    {"&#; &#x; &; &&amp;& &#xg; &#12ab;", "&#; &#x; &; &&& &#xg; ab;"},
    {"<b>&amp;</b> &eacute;", "<b>&</b> \303\251"},
    {"&eacute; < &eacute;\012&eacute;", "\303\251 < \303\251 \303\251"},
    {"&eacute;\012<", "\303\251 <"},
    {"&CounterClockwiseContourIntegral; &CounterClockwiseContourIntegrals;",
     "\342\210\263 &CounterClockwiseContourIntegrals;"},
    {"&bne; &fjlig; &acE;", "=\342\203\245 fj \342\210\276\314\263"},
    {"&Aacutes &abcdefghijklmnopqrstuvwxyzabcdefgh;",
     "\303\201s &abcdefghijklmnopqrstuvwxyzabcdefgh;"},
    {"&lt;b&gt; &amp;lt;", "<b> <"},
    /* mojibake */
    {"s\303\203\302\263", "s\303\263"},
    {"\303\242\302\234\302\224 No problems", "\342\234\224 No problems"},
    {"\303\242\305\223\342\200\235 No problems", "\342\234\224 No problems"},
    {"voil\303\203 le travail", "voil\303\240 le travail"},
    {"\303\203 la mode", "\303\240 la mode"},
    {"l\303\203 quelque, \303\203 quele", "l\303\240 quelque, \303\240quele"},
    {"\303\242\342\202\254\305\223quoted\303\242\342\202\254\357\277\275", "\"quoted\357\277\275"},
    {"It\303\242\342\202\254\342\204\242s", "It's"},
    {"\303\220\305\270\303\221\342\202\254\303\220\302\270\303\220\302\262\303\220\302\265"
     "\303\221\342\200\232",
     "\320\237\321\200\320\270\320\262\320\265\321\202"},
    {"\320\240\321\237\320\241\320\202\320\240\321\221\320\240\320\206\320\240\302\265\320"
     "\241\342\200\232",
     "\320\237\321\200\320\270\320\262\320\265\321\202"},
    {"\303\203\306\222\303\202\302\251t\303\203\306\222\303\202\302\251", "\303\251t\303\251"},
    {"\303\255\302\240\302\275\303\255\302\270\302\215", "\360\237\230\215"},
    {"\303\260\305\270\313\234\342\202\254", "\360\237\230\200"},
    {"\303\200\302\200 \303\203\302\251", "\303\251"},
    {"na\303\257ve caf\303\251", "na\303\257ve caf\303\251"},
    {"\342\210\264\303\242\342\202\254\342\204\242 mixed \344\270\226",
     "\342\210\264' mixed \344\270\226"},
    {"\303\243\302\201\342\200\232 caf\303\203\302\251 \344\270\255",
     "\343\201\202 caf\303\251 \344\270\255"},
    {"\342\224\234\302\251 caf\342\224\234\302\251",
     "\342\224\234\302\251 caf\342\224\234\302\251"},
    {"caf\342\210\232\302\251", "caf\303\251"},
    {"\316\223\303\207\302\243", "\316\223\303\207\302\243"},
    {"\316\237\342\200\246\316\237\302\273", "\316\237\342\200\246\316\237\302\273"},
    {"\303\205\302\276 \303\205\305\240", "\305\276 \305\212"},
    {"a\302\223quoted\302\224 \302\205", "a\"quoted\" \342\200\246"},
    {"\302\201\302\215 \303\251", "\302\201\302\215 \303\251"},
    {"\303\203\? \303\203\302\251", "\357\277\275 \303\251"},
    {"\303\242\342\200\232 \302\254 \303\203\302\251", "\303\242' \302\254 \303\251"},
    {"\303\202\302\251 \303\202 2", "\302\251 2"},
    {"Ph\303\241\302\272\302\247n m\303\241\302\273\302\201m", "Ph\341\272\247n m\341\273\201m"},
    {"l\342\200\231\303\203\302\251t\303\203\302\251", "l'\303\251t\303\251"},
    {"\303\230\302\247\303\231\342\200\236\303\230\302\271\303\230\302\261",
     "\330\247\331\204\330\271\330\261"},
    {"\320\240\302\277\320\241\320\202\320\240\321\221 <b>&amp;",
     "\320\240\302\277\320\241\320\202\320\240\321\221 <b>&"},
    {"\303\242\342\202\254\342\204\242\303\242\342\202\254\342\204\242 \346\274\242\345"
     "\255\227 \303\242\342\202\254\342\204\242",
     "'' \346\274\242\345\255\227 '"},
    /* other scripts stay */
    {"\344\275\240\345\245\275\357\274\214\344\270\226\347\225\214",
     "\344\275\240\345\245\275,\344\270\226\347\225\214"},
    {"\331\205\330\261\330\255\330\250\330\247 \330\250\330\247\331\204\330\271\330\247"
     "\331\204\331\205",
     "\331\205\330\261\330\255\330\250\330\247 \330\250\330\247\331\204\330\271\330\247"
     "\331\204\331\205"},
    {"\320\237\321\200\320\270\320\262\320\265\321\202, \320\274\320\270\321\200",
     "\320\237\321\200\320\270\320\262\320\265\321\202, \320\274\320\270\321\200"},
    {"\340\244\250\340\244\256\340\244\270\340\245\215\340\244\244\340\245\207",
     "\340\244\250\340\244\256\340\244\270\340\245\215\340\244\244\340\245\207"},
    {"\360\237\221\250\342\200\215\360\237\221\251\342\200\215\360\237\221\247 \360\237"
     "\217\263\357\270\217\342\200\215\360\237\214\210",
     "\360\237\221\250\342\200\215\360\237\221\251\342\200\215\360\237\221\247 \360\237"
     "\217\263\357\270\217\342\200\215\360\237\214\210"},
    {"\341\272\236\303\237 \304\260\304\261", "\341\272\236\303\237 \304\260\304\261"},
};

static void test_reference_texts(void **state)
{
    (void)state;
    int wrong = 0;
    for (size_t i = 0; i < sizeof(clean_cases) / sizeof(clean_cases[0]); i++) {
        const struct clean_case *item = &clean_cases[i];
        struct sora_fault fault = {0};
        struct sora_bytes out;
        sora_bytes_init(&out, 65536);
        assert_int_equal(sora_text_clean(item->text, strlen(item->text), "text", &out, &fault), 0);
        const char *got = out.data ? (const char *)out.data : "";
        if (strlen(item->cleaned) != out.size || memcmp(got, item->cleaned, out.size) != 0) {
            print_error("\"%s\": \"%s\", expected \"%s\"\n", item->text, got, item->cleaned);
            wrong++;
        }
        sora_bytes_fini(&out);
    }
    assert_int_equal(wrong, 0);
}

/* Many layers of the same damage, and text that changes at every step, stay affordable. */
static void test_bounded_work(void **state)
{
    (void)state;
    static const char *const units[] = {"\303\203\302\251", "&amp;",    "\303\242\302\202\302\254 ",
                                        "\303\203 ",        "\302\201", "\357\277\275"};
    enum { size = 65000 };
    char *text = malloc(size);
    assert_non_null(text);
    for (size_t u = 0; u < sizeof(units) / sizeof(units[0]); u++) {
        size_t unit = strlen(units[u]), used = 0;
        for (; used + unit <= size; used += unit)
            memcpy(text + used, units[u], unit);
        struct sora_bytes out;
        sora_bytes_init(&out, size * 16);
        assert_int_equal(sora_text_clean(text, used, "text", &out, NULL), 0);
        sora_bytes_fini(&out);
    }
    free(text);
}

static void test_refuses(void **state)
{
    (void)state;
    struct sora_bytes out;
    struct sora_fault fault = {0};
    sora_bytes_init(&out, 100);
    assert_int_equal(sora_text_clean("ab\xfe", 3, "negative", &out, &fault), SORA_E_FORMAT);
    assert_non_null(strstr(fault.text, "negative: byte 2 (0xfe)"));
    sora_bytes_fini(&out);
    fault = (struct sora_fault){0};
    sora_bytes_init(&out, 2);
    assert_int_equal(sora_text_clean("abcdef", 6, "prompt", &out, &fault), SORA_E_FULL);
    sora_bytes_fini(&out);
}

static void test_utf8(void **state)
{
    (void)state;
    struct sora_runes runes = {0};
    struct sora_bytes out;
    sora_bytes_init(&out, 64);
    static const char text[] =
        "a\302\200\337\277\340\240\200\357\277\277\360\220\200\200\364\217\277\277";
    assert_true(sora_runes_append_utf8(&runes, text, sizeof(text) - 1));
    assert_int_equal(runes.count, 7);
    assert_int_equal(runes.items[6], 0x10ffff);
    assert_int_equal(sora_runes_to_utf8(&runes, &out), 0);
    assert_int_equal(out.size, sizeof(text) - 1);
    assert_memory_equal(out.data, text, out.size);
    sora_runes_fini(&runes);
    sora_bytes_fini(&out);
    static const char *const broken[] = {"\200",
                                         "\301\277",
                                         "\340\237\277",
                                         "\355\240\200",
                                         "\360\217\277\277",
                                         "\364\220\200\200",
                                         "\365\200\200\200",
                                         "\302",
                                         "\342\202",
                                         "\302a"};
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        uint32_t rune = 0;
        assert_int_equal(sora_utf8_read((const unsigned char *)broken[i], strlen(broken[i]), &rune),
                         0);
    }
}

static void test_classes(void **state)
{
    (void)state;
    assert_int_equal(sora_text_classes('a'), 0);
    assert_int_equal(sora_text_classes(' '), SORA_TEXT_TRAIL);
    assert_int_equal(sora_text_classes(0x9f),
                     SORA_TEXT_C1 | SORA_TEXT_TRAIL | SORA_TEXT_TRAIL_STRICT);
    assert_int_equal(sora_text_classes(0xc3), SORA_TEXT_UPPER_ACCENTED | SORA_TEXT_LEAD_2);
    assert_int_equal(sora_text_classes(0x2022), SORA_TEXT_START | SORA_TEXT_TRAIL);
    assert_int_equal(sora_text_classes(0x2593), SORA_TEXT_BOX);
    assert_int_equal(sora_text_classes(0x10ffff), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference_texts), cmocka_unit_test(test_bounded_work),
        cmocka_unit_test(test_refuses),         cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_classes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
