# What ./build.sh lint says of layers and of style: it finds each fault.

use strict;
use warnings;

use lib 't/lib';
use Test::More;
use Token::Util qw($ROOT slurp spew work_dir);

my $dir = work_dir();
my $module = "$dir/ngx_http_token_module";
my $function = "\n\nvoid\nngx_http_token_fault(void)\n{\n%s}\n";

# Where a fault stands, what it is, what is said of it
my @layers = (
    ['util/ngx_http_token_form.c', '#include "ngx_http_token_conf.h"', 'includes ngx_http_token_conf.h'],
    ['util/ngx_http_token_form.c', '#include <ngx_http_token_cache.h>', 'includes ngx_http_token_cache.h'],
    ['util/ngx_http_token_form.c', '# include "../conf/ngx_http_token_conf.h"', 'includes ngx_http_token_conf.h'],
    ['ngx_http_token.h', '#include "ngx_http_token_util.h"', 'includes ngx_http_token_util.h'],
    ['endpoint/ngx_http_token_fetch.c', 'ngx_http_token_get(NULL);', 'uses ngx_http_token_get of '],
    ['cache/ngx_http_token_get.c', 'handler = ngx_http_token_handler;', 'uses ngx_http_token_handler of '],
    ['util/ngx_http_token_util.h', 'static ngx_inline void f(void) { ngx_http_token_get(NULL); }', 'uses ngx_http_token_get of '],
    ['endpoint/ngx_http_token_fetch.c', 'ngx_http_token_json_type.len = 0;', 'uses ngx_http_token_json_type of '],
    ['endpoint/ngx_http_token_fetch.c', 'name = ngx_http_token_outcome_names[0];', 'uses ngx_http_token_outcome_names of '],
    ['util/ngx_http_token_util.c', 'ngx_http_token_find_header(NULL, "a");', ' is a circle'],
);

my @style = (
    ['line', '/* ' . 'x' x 80 . ' */', 'is longer than 80 columns'],
    ['comment', '// text', 'has a comment with //'],
    ['declarations', sprintf($function, "    ngx_int_t  rc;\n    ngx_str_t   text;\n\n    return;\n"), 'names are not aligned'],
    ['function', sprintf($function, "    x = 1;\n" x 78), 'a function of more than 80 lines'],
);

plan(tests => 1 + 2 * @layers + 2 + 2 * @style);

system('cp', '-r', "$ROOT/ngx_http_token_module", $dir) == 0 or die "cp failed\n";


# layers
is(run('layers.pl', $module), "0: ", 'the layers are in order');

for my $case (@layers) {
    my ($file, $fault, $said) = @$case;
    my $text = slurp("$module/$file");

    spew("$module/$file", $text, "\n$fault\n");

    my $output = run('layers.pl', $module);
    my $name = $file =~ s{.*/}{}r;

    like($output, qr/^1: /, "$name: $fault");
    like($output, qr/\b\Q$name\E.*\Q$said\E/, '... is told');
    spew("$module/$file", $text);
}


# style
{
    my $start = "\n/*\n * A header comment.\n */\n\n\n";
    my $file = spew("$dir/right.c", $start, sprintf($function, "    x = 1;\n" x 77));

    is(run('style.pl', $file), '0: ', 'a file in the right style');
    like(run('style.pl'), qr/^[1-9]\d*: no files/, '... which is there');

    for my $case (@style) {
        my ($name, $fault, $said) = @$case;
        my $output = run('style.pl', spew("$dir/$name.c", $start, "$fault\n"));

        like($output, qr/^1: /, "$name: is refused");
        like($output, qr/\Q$said\E/, '... for that');
    }
}


# "STATUS: OUTPUT" of a script.
sub run {
    my ($script, @args) = @_;
    my $output = `perl '$ROOT/scripts/$script' @args 2>&1`;

    return ($? >> 8) . ": $output";
}
