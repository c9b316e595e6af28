# "return" beside token_proxy: nginx answers with it and hands out no token, so
# nginx -t warns where it is always reached.

use strict;
use warnings;

use lib 't/lib';
use Test::More;
use Token::Util qw($MODULE $NGINX spew work_dir);

my @CASES = (
    ['"return" alone', 'return 204;', 1],
    ['... with a text', 'return 200 "{}";', 1],
    ['... above token_proxy_methods', 'return 302 /login; token_proxy_methods GET;', 1],
    ['... after "set" with a constant', 'set $tried yes; return 204;', 1],
    ['... in an "if"', 'if ($request_method = DELETE) { return 405; }', 0],
    ['... in an "if" after "set"', 'set $tried yes; if ($arg_a) { return 405; }', 0],
    ['"set" alone', 'set $tried yes;', 0],
    ['"rewrite"', 'rewrite ^/old$ /token break;', 0],
    ['an "if" that inherits the token location', 'if ($arg_a) { set $tried yes; }', 0],
    ['none', '', 0],
);

plan(tests => 3 * @CASES);

my $dir = work_dir();
mkdir "$dir/logs";

for (@CASES) {
    my ($name, $lines, $warned) = @$_;

    spew("$dir/nginx.conf", <<"END");
load_module "$MODULE";
pid $dir/logs/pid;
events { }
http {
    server {
        listen unix:$dir/socket;
        location = /token {
            token_proxy           on;
            token_proxy_endpoint  http://127.0.0.1/token;
            $lines
        }
    }
}
END
    local @ENV{qw(CONSUMER_KEY CONSUMER_SECRET)} = ('my-key', 'my-secret');
    my $output = `$NGINX -t -e $dir/logs/error.log -p $dir -c $dir/nginx.conf 2>&1`;
    my @warnings = $output =~ /\[warn\] (.*)/g;

    is($?, 0, "$name: nginx -t passes") or diag($output);
    is(scalar(@warnings), $warned, $warned ? '... and warns, once' : '... and does not warn')
        or diag($output);
    like($warnings[0] // '', $warned
        ? qr{^"return" in location "/token" answers before "token_proxy" in \S+/nginx\.conf:\d+$}
        : qr/^$/, '... in words');
}
