
/*
 * The options of the sanitizers, linked into nginx: the environment does not
 * reach a binary that another nginx has started.
 */


#define OPTIONS                                                               \
    "halt_on_error=1:abort_on_error=0:exitcode=99:log_path=" REPORTS ":"


const char *__asan_default_options(void);
const char *__lsan_default_options(void);
const char *__ubsan_default_options(void);
int __lsan_is_turned_off(void);


/* nginx's, where this is linked into nginx */

extern unsigned long  ngx_test_config __attribute__((weak));


/* OpenSSL has no frame pointers, and a suppression names who called it */

const char *
__asan_default_options(void)
{
    return OPTIONS
           "detect_leaks=1:"
           "fast_unwind_on_malloc=0:"
           "detect_stack_use_after_return=1:"
           "strict_string_checks=1:"
           "check_initialization_order=1:"
           "allocator_may_return_null=1";
}


const char *
__lsan_default_options(void)
{
    return "print_suppressions=0:suppressions=" SUPPRESSIONS "/lsan.supp";
}


const char *
__ubsan_default_options(void)
{
    return OPTIONS "print_stacktrace=1:"
           "suppressions=" SUPPRESSIONS "/ubsan.supp";
}


/* "nginx -t" leaves a configuration that is right to the kernel */

int
__lsan_is_turned_off(void)
{
    return &ngx_test_config && ngx_test_config;
}
