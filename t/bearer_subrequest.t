# token_proxy_bearer and the requests that nginx makes on behalf of a caller.
#
# Who is asked whether access is granted sees what the caller sent, unless the
# directive stands in that location itself. All others come after that, and see
# what their own location says.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 117;
use Time::HiRes qw(sleep);
use Token::Cache;
use Token::Endpoint;
use Token::Server;
use Token::Util qw($NGINX free_port slurp spew wait_for);

my $endpoint = Token::Endpoint->new;
my $api = Token::Endpoint->new(body => 'data');
my $auth = Token::Endpoint->new(body => '');
my $other = Token::Endpoint->new(body => 'other');
my $a = 'http://127.0.0.1:' . $api->port;
my $s = 'http://127.0.0.1:' . $auth->port;
my $o = 'http://127.0.0.1:' . $other->port;
my $h2 = free_port();
my $caller = 'Basic caller';

my $config = <<"END";
        token_proxy_bearer  /token;
        proxy_cache_key     \$uri;
        ssi_types           *;
        addition_types      *;

        location / {
            auth_request  /auth;
            proxy_pass    $a;
        }

        location = /auth {
            internal;
            proxy_pass               $s;
            proxy_pass_request_body  off;
            proxy_set_header         Content-Length "";
        }

        location /any/ {
            satisfy       any;
            auth_basic    closed;
            auth_basic_user_file  \@DIR\@/conf/users;
            auth_request  /auth;
            proxy_pass    $a;
        }

        location /own/ {
            auth_request  /own-auth;
            proxy_pass    $a;
        }

        location = /own-auth {
            internal;
            token_proxy_bearer  /token;
            proxy_pass          $s;
        }

        location /own-if/ {
            auth_request  /own-if-auth;
            proxy_pass    $a;
        }

        location = /own-if-auth {
            internal;
            token_proxy_bearer  /token;
            proxy_pass          $s;

            if (\$arg_if) {
                proxy_pass  $s;
            }
        }

        location /none/ {
            token_proxy_bearer  off;
            auth_request        /auth;
            proxy_pass          $a;
        }

        # what is asked is in pieces, and renewed in the background
        location /cached/ {
            auth_request  /cached-auth;
            proxy_pass    $a;
        }

        location = /cached-auth {
            internal;
            proxy_pass                     $s;
            proxy_cache                    cache;
            proxy_cache_key                any;
            proxy_cache_valid              any 1s;
            proxy_cache_use_stale          updating;
            proxy_cache_background_update  on;
        }

        # what is asked asks others
        location /outer/ {
            auth_request  /outer-auth;
            proxy_pass    $a;
        }

        location = /outer-auth {
            internal;
            ssi         on;
            proxy_pass  $s;
        }

        location /denied/ {
            auth_request  /auth;
            error_page    401 \@denied;
            error_page    403 /denied-page;
            proxy_pass    $a;
        }

        location \@denied { proxy_pass $o; }
        location = /denied-page { proxy_pass $o; }

        # those that come when access has been granted
        location /mirrored/ { mirror /other/mirror; proxy_pass $a; }
        location /mirrored-off/ { mirror /off/mirror; proxy_pass $a; }
        location /added/ { add_after_body /other/added; proxy_pass $a; }
        location /added-off/ { add_after_body /off/added; proxy_pass $a; }
        location /page/ { proxy_intercept_errors on;
            error_page 500 /other/page; proxy_pass $a; }
        location /page-off/ { proxy_intercept_errors on;
            error_page 500 /off/page; proxy_pass $a; }
        location /after/ { post_action /other/after; proxy_pass $a; }
        location /after-off/ { post_action /off/after; proxy_pass $a; }
        location /other/ { proxy_pass $o; }
        location /off/ { token_proxy_bearer off; proxy_pass $o; }
        location /included/ { ssi on; proxy_pass $a; }

        location /returned/ {
            ssi           on;
            auth_request  /auth;
            return        200 '<!--#include virtual="/other/x" -->';
        }

        location /granted/ {
            auth_request  /auth;
            ssi           on;
            proxy_pass    $a;
        }

        location /renewed/ {
            auth_request                   /auth;
            proxy_pass                     $a;
            proxy_cache                    cache;
            proxy_cache_valid              any 1s;
            proxy_cache_use_stale          updating;
            proxy_cache_background_update  on;
            add_header                     X-Api-Cache \$upstream_cache_status;
        }

        location /sliced/ {
            auth_request       /auth;
            slice              10;
            proxy_cache        cache;
            proxy_cache_key    \$uri\$slice_range;
            proxy_cache_valid  200 206 1h;
            proxy_set_header   Range \$slice_range;
            proxy_pass         $a;
        }

        # blocks that have no upstream of their own
        location /if-off/ {
            proxy_pass  $a;

            if (\$arg_off) {
                token_proxy_bearer  off;
            }

            limit_except GET {
                token_proxy_bearer  off;
            }
        }

        location /ifs/ {
            if (\$arg_a) {
                proxy_pass  $a;
            }

            if (\$arg_b) {
                set  \$b 1;
            }
        }

        location /ifs-passed/ {
            token_proxy_bearer  off;
            proxy_pass          $o;

            if (\$arg_a) {
                token_proxy_bearer  /token;
                proxy_pass          $a;
            }

            if (\$arg_b) {
                set  \$b 1;
            }
        }
END

my $nginx = Token::Server->new(
    http => zone() . <<"END",
    proxy_cache_path  \@DIR\@/cache keys_zone=cache:1m;

    server {
        listen  127.0.0.1:$h2 http2;
        @{[ location('token', $endpoint->url, 'internal') ]}
        $config
    }
END
    server => location('token', $endpoint->url, 'internal',
        'token_proxy_retry_backoff 1ms 1s') . $config,
);

spew($nginx->dir . '/conf/users', "caller:{PLAIN}right\n");
my ($status, $said) = $nginx->test;
$nginx->start;


# auth_request asks with what the caller sent
{
    for my $path (qw(/x /any/x /none/x)) {
        my $token = $path !~ /none/;

        reset_all();
        is($nginx->get($path, Authorization => $caller)->{status}, 200,
            "$path: auth_request");
        is_deeply([sent($auth)], [$caller], '... asks with the caller\'s header');
        ($token ? \&like : \&is)->((sent($api))[0],
            $token ? qr/^Bearer AT-\d+$/ : $caller, '... and the API gets '
            . ($token ? 'the token' : 'it too'));

        reset_all();
        is($nginx->get($path)->{status}, 200, "$path: without a header");
        is_deeply([sent($auth)], ['-'], '... none is asked with');

        for my $code (401, 403) {
            next if $path =~ /any/;
            reset_all();
            $auth->next({ status => $code });
            is($nginx->get($path, Authorization => $caller)->{status}, $code,
                "$path: auth_request answers $code");
            is($auth->calls, 1, '... once');
            is($api->calls, 0, '... and the API is not called');
        }
    }

    # a refusal of the caller says nothing of the token
    my $before = $endpoint->calls;

    $auth->next((map { { status => 401 } } 1 .. 6));
    $nginx->get('/x', Authorization => $caller) for 1 .. 6;
    $nginx->get('/x', Authorization => $caller);
    is($endpoint->calls, $before, 'six refusals cost no call of the endpoint');

    # satisfy any: refused by one, and granted by the other
    reset_all();
    is($nginx->get('/any/x', Authorization => 'Basic Y2FsbGVyOnJpZ2h0')->{status},
        200, 'satisfy any: a password');
    like((sent($api))[0], qr/^Bearer AT-/, '... the API gets the token');
    reset_all();
    $auth->next({ status => 403 });
    is($nginx->get('/any/x', Authorization => 'Basic Y2FsbGVyOndyb25n')->{status},
        401, 'satisfy any: neither');
    is_deeply([sent($auth)], ['Basic Y2FsbGVyOndyb25n'],
        '... was asked with the caller\'s header');
}


# a directive in that location itself
{
    for my $path (qw(/own/x /own-if/x)) {
        reset_all();
        is($nginx->get($path, Authorization => $caller)->{status}, 200,
            "$path: the directive stands in the location that is asked");
        like((sent($auth))[0], qr/^Bearer AT-\d+$/, '... which gets the token');
    }

    is($status, 0, 'nginx -t takes it');

    my @warnings = $said =~ /\[warn\] "token_proxy_bearer" in (.*)/g;

    is(scalar(@warnings), 4, '... with a warning for each location')
        or diag($said);
    like($warnings[0], qr{^location "/own-auth", which "auth_request" asks, replaces the header "Authorization" of the client that is checked in \S+nginx\.conf:\d+$},
        '... with file and line');
}


# subrequests of what is asked
{
    reset_all();
    $nginx->get('/cached/x', Authorization => $caller);
    is_deeply([sent($auth)], [$caller], 'a check that is cached');
    sleep 2.1;
    reset_all();
    is($nginx->get('/cached/x', Authorization => $caller)->{status}, 200,
        '... and renewed in the background');
    ok(wait_for { $auth->calls == 1 }, '... asks again');
    is_deeply([sent($auth)], [$caller], '... with the caller\'s header');

    reset_all();
    $auth->next({ body => '<!--#include virtual="/other/asked" -->',
        headers => ['Content-Type' => 'text/html'] });
    is($nginx->get('/outer/x', Authorization => $caller)->{status}, 200,
        'a check that includes');
    is_deeply([sent($auth)], [$caller], '... gets the caller\'s header');
    is_deeply([grep { $_ ne $caller } sent($other)], [],
        '... and so does what it includes');
}


# who is shown to a caller that has no access
{
    for my $code (401, 403) {
        reset_all();
        $auth->next({ status => $code });
        is($nginx->get('/denied/x', Authorization => $caller)->{content}, 'other',
            "$code: an error page");
        like((sent($other))[0], qr/^Bearer AT-/,
            '... is a location of its own, and gets the token that it inherits');
        is($api->calls, 0, '... the API is not called');
    }

}


# who comes later
{
    for my $how (qw(mirrored added page after)) {
        for my $off ('', '-off') {
            reset_all();
            $api->next({ status => 500 }) if $how eq 'page';
            $nginx->get("/$how$off/x", Authorization => $caller);
            ok(wait_for { $other->calls }, "/$how$off/: another location");
            ($off ? \&is : \&like)->((sent($other))[0],
                $off ? $caller : qr/^Bearer AT-/,
                $off ? '... with "off": gets the caller\'s header'
                    : '... gets the token that it inherits');
            like((sent($api))[0], qr/^Bearer AT-/, '... and the API the token');
        }
    }

    for my $where (qw(included granted)) {
        for my $what (qw(other off)) {
            reset_all();
            $api->next({ body => "<!--#include virtual=\"/$what/x\" -->",
                headers => ['Content-Type' => 'text/html'] });
            is($nginx->get("/$where/x", Authorization => $caller)->{content},
                'other', "/$where/: a page that includes /$what/");
            ($what eq 'off' ? \&is : \&like)->((sent($other))[0],
                $what eq 'off' ? $caller : qr/^Bearer AT-/, '... as its location says');
            is_deeply([sent($auth)], [$where eq 'granted' ? $caller : ()],
                '... after the check');
        }
    }

    reset_all();
    is($nginx->get('/returned/x', Authorization => $caller)->{content}, 'other',
        '"return" comes before a check, and includes');
    is_deeply([sent($auth)], [], '... without one');
    like((sent($other))[0], qr/^Bearer AT-/, '... as that location says');

    $nginx->get('/renewed/x', Authorization => $caller);
    sleep 2.1;
    reset_all();
    is($nginx->get('/renewed/x', Authorization => $caller)->{headers}{'x-api-cache'},
        'STALE', 'an update in the background');
    ok(wait_for { $api->calls == 1 }, '... asks the API');
    like((sent($api))[0], qr/^Bearer AT-/, '... with the token');
    is_deeply([sent($auth)], [$caller], '... after a check with the caller\'s header');

    reset_all();
    $api->next(map { {
        status => 206, body => $_ x 10,
        headers => ['Content-Range' => sprintf 'bytes %d-%d/30', $_ * 10, $_ * 10 + 9],
    } } 0 .. 2);
    is($nginx->get('/sliced/x', Authorization => $caller)->{content},
        join('', map { $_ x 10 } 0 .. 2), 'slices');
    is(scalar(grep { /^Bearer AT-/ } sent($api)), 3, '... each with the token');
    is_deeply([sent($auth)], [$caller], '... one check');
}


# HTTP/2
SKIP: {
    skip('no HTTP/2', 6) if `$NGINX -V 2>&1` !~ /--with-http_v2_module/
        || `curl -V` !~ /\bHTTP2\b/;

    for my $path (qw(/x /any/x)) {
        reset_all();
        my $code = `curl -sS -m 10 --http2-prior-knowledge -o /dev/null -w '%{http_code}' -H 'Authorization: $caller' http://127.0.0.1:$h2$path`;
        is($code, 200, "HTTP/2: $path");
        is_deeply([sent($auth)], [$caller], '... asks with the caller\'s header');
        like((sent($api))[0], qr/^Bearer AT-/, '... the API gets the token');
    }
}


# blocks that have no upstream of their own
{
    for (['GET', '/if-off/x', 1], ['GET', '/if-off/x?off=1', 0],
        ['POST', '/if-off/x', 0])
    {
        my ($method, $path, $token) = @$_;

        reset_all();
        is($nginx->request($method => $path, { Authorization => $caller })->{status},
            200, "$method $path");
        ($token ? \&like : \&is)->((sent($api))[0],
            $token ? qr/^Bearer AT-/ : $caller,
            $token ? '... gets the token' : '... "off" in a block: gets none');
    }

    my $before = () = $nginx->error_log =~ /no upstream for/g;

    is($nginx->get('/ifs/x?a=1')->{status}, 200, 'an "if" with an upstream');
    is($nginx->get('/ifs/x?a=1&b=1')->{status}, 500,
        '... and one without that is the last');

    my @lines = $nginx->error_log =~ /\[error\].*: \*\d+ (no upstream for .*?)(?:, client|$)/mg;

    is_deeply(\@lines, ['no upstream for "token_proxy_bearer" in an "if" of '
        . 'location "/ifs/"'], '... is a line that names the location');

    reset_all();
    is($nginx->get('/ifs-passed/x?a=1&b=1', Authorization => $caller)->{content},
        'other', '... which passes on where the location does');
    is_deeply([sent($other)], [$caller], '... with the caller\'s header');
}

$nginx->stop('QUIT');

no_secrets($nginx, qr/Bearer A/);
is_deeply([grep { !/exit|signal/ }
    $nginx->error_log =~ /^.*\[(?:alert|emerg|crit)\].*$/mg], [],
    'no alert in the error log');


sub reset_all { $_->reset for $api, $auth, $other; return }

# The Authorization of each request that came.
sub sent {
    my ($server) = @_;

    return map { /^Authorization: (.*?)\r$/mi ? $1 : '-' } $server->requests;
}
