# token_proxy_bearer: the token goes to the API, and nowhere else. What happens
# when there is none, or when the API refuses it, is in bearer_errors.t.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 109;
use Time::HiRes qw(sleep);
use Token::Bearer;
use Token::Cache;
use Token::Peer;
use Token::Util qw(free_port spew wait_for);


# what goes to the API
{
    part(<<"END");
        error_page  404 /inherited-page;

        location /api/ {
            token_proxy_bearer  /token;
            proxy_pass          $api_url/;
        }
END

    my $got = $nginx->get('/api/x?q=1&r=%20', 'X-A' => 'b', 'Cookie' => 'c=d',
        'User-Agent' => 'me');
    my $sent = last_request($api);

    is($got->{content}, 'data 1', 'the API\'s answer');
    is(authorization($sent), 'Bearer AT-1', '... to a request with the token');
    like($sent, qr{^GET /x\?q=1&r=%20 HTTP/1\.1\r\n}, '... for its URI');
    like($sent, qr/^X-A: b\r$/mi, '... with the caller\'s headers');
    like($sent, qr/^Cookie: c=d\r$/mi, '... all of them');

    $nginx->get('/api/x', Authorization => 'Basic abc');
    is(authorization(last_request($api)), 'Bearer AT-1',
        'the caller\'s Authorization is replaced');

    $nginx->raw("GET /api/x HTTP/1.1\r\nHost: a\r\nAUTHORIZATION: Basic abc\r\n"
        . "X-A: 1\r\nX-A: 2\r\nConnection: close\r\n\r\n");
    is(authorization(last_request($api)), 'Bearer AT-1', '... in any case');
    unlike(last_request($api), qr/Basic/, '... all of it');
    is_deeply([last_request($api) =~ /^X-A: (\d)/mg], [1, 2],
        '... and nothing else');

    $nginx->get('/api/x', map { ("X-Header-$_" => $_) } 1 .. 60);
    is(scalar(() = last_request($api) =~ /^X-Header-(\d+): \1\r$/mg), 60,
        'sixty headers');

    is($endpoint->calls, 1, 'one token for all');
    is($nginx->get('/token')->{status}, 404, 'the token location is internal');
}


# bodies
{
    part(<<"END");
        location /api/ {
            token_proxy_bearer  /token;
            proxy_pass          $api_url/;
        }

        location /uncached/ {
            token_proxy_bearer  /uncached;
            proxy_pass          $api_url/;
        }

        location /unbuffered/ {
            token_proxy_bearer       /token;
            proxy_pass               $api_url/;
            proxy_request_buffering  off;
        }

        @{[ location('uncached', $endpoint->url, 'token_proxy_cache off') ]}
END

    for my $size (10, 100_000) {
        my $body = 'b' x $size;

        for my $location (qw(api unbuffered uncached)) {
            $nginx->request(POST => "/$location/x",
                { Authorization => 'Basic abc' }, $body);

            my $sent = last_request($api);
            my ($content) = $sent =~ /\r\n\r\n(.*)/s;

            like(authorization($sent), qr/^Bearer AT-\d+$/,
                "/$location/: a body of $size bytes");
            is($content, $body, '... as it is');
        }
    }

    # a body that comes later than the token
    my $socket = $nginx->connect;

    print $socket "POST /api/late HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
        . "Authorization: Basic abc\r\nConnection: close\r\n\r\n";
    $socket->flush;
    sleep 0.2;
    print $socket 'hello';
    $socket->flush;
    like(join('', <$socket>), qr/^data/m, 'a body that comes late');
    is(authorization(last_request($api)), 'Bearer AT-1', '... with the token');
}


# other locations
{
    part(<<"END");
        location \@named {
            token_proxy           on;
            token_proxy_endpoint  @{[ $endpoint->url ]};
            token_proxy_cache     tokens;
            token_proxy_cache_key named;
        }

        location /named/ {
            token_proxy_bearer  \@named;
            proxy_pass          $api_url/;
        }

        location /public/api/ {
            token_proxy_bearer  /public;
            proxy_pass          $api_url/;
        }

        location /uncached/ {
            token_proxy_bearer  /uncached;
            proxy_pass          $api_url/;
        }

        @{[ location('public', $endpoint->url, 'token_proxy_cache_key public') ]}
        @{[ location('uncached', $endpoint->url, 'token_proxy_cache off') ]}
END

    $nginx->get('/named/x');
    is(authorization(last_request($api)), 'Bearer AT-1', 'a named location');

    like($nginx->get('/public/api/x')->{content}, qr/^data/, 'another location');
    my $public = authorization(last_request($api));
    like($public, qr/^Bearer AT-(?!1$)\d+$/, '... has a token of its own');

    $endpoint->reset;
    $nginx->get('/uncached/x') for 1, 2;
    is($endpoint->calls, 2, 'without a cache: a token for each request');
    is(authorization(last_request($api)), 'Bearer AT-2', '... the last one');
}


# the header
{
    part(<<"END");
        location /key/ {
            token_proxy_bearer         /token;
            token_proxy_bearer_header  X-Token;
            proxy_pass                 $api_url/;
        }

        location /scheme/ {
            token_proxy_bearer         /token;
            token_proxy_bearer_header  Authorization DPoP;
            proxy_pass                 $api_url/;
        }

        location /variable/ {
            token_proxy_bearer         /token;
            token_proxy_bearer_header  X-Token;
            proxy_set_header           X-Other \$token_proxy_access_token;
            proxy_set_header           X-Caller \$http_x_token;
            proxy_pass                 $api_url/;
        }

        location /no-variable/ {
            proxy_set_header  X-Other "\$token_proxy_access_token";
            proxy_pass        $api_url/;
        }
END

    $nginx->get('/key/x', Authorization => 'Basic abc', 'X-Token' => 'mine');
    my $sent = last_request($api);

    is(header($sent, 'X-Token'), 'AT-1', 'another header, no scheme');
    is(authorization($sent), 'Basic abc', '... the caller\'s one stays');

    $nginx->get('/scheme/x');
    is(authorization(last_request($api)), 'DPoP AT-1', 'another scheme');

    $nginx->get('/variable/x', 'X-Token' => 'mine');
    is(header(last_request($api), 'X-Other'), 'AT-1',
        '$token_proxy_access_token');
    is(header(last_request($api), 'X-Caller'), 'mine',
        '$http_x_token is the caller\'s');

    $nginx->get('/no-variable/x');
    is(header(last_request($api), 'X-Other'), undef, '... is not set elsewhere');
}


# other ways to an API
{
    my $h2 = free_port();
    my $fastcgi = Token::Peer->fastcgi;
    my $uwsgi = Token::Peer->uwsgi;

    part(<<"END", <<"END");
        location /ws/ {
            token_proxy_bearer  /token;
            proxy_pass          $api_url/;
            proxy_set_header    Upgrade \$http_upgrade;
            proxy_set_header    Connection upgrade;
        }

        location /grpc/ {
            token_proxy_bearer  /token;
            grpc_pass           grpc://127.0.0.1:$h2;
        }

        location /fastcgi/ {
            token_proxy_bearer  /token;
            fastcgi_pass        127.0.0.1:@{[ $fastcgi->port ]};
            fastcgi_param       REQUEST_METHOD \$request_method;
        }

        location /uwsgi/ {
            token_proxy_bearer  /token;
            uwsgi_pass          127.0.0.1:@{[ $uwsgi->port ]};
            uwsgi_param         REQUEST_METHOD \$request_method;
        }
END
    server {
        listen      127.0.0.1:$h2 http2;
        error_log   \@DIR\@/logs/api.log info;
        access_log  off;

        location / {
            add_header  Content-Type text/plain;
            return      200 "\$request_method \$http_authorization";
        }
    }
END

    $api->next({ raw => "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n"
        . "Connection: Upgrade\r\n\r\nhello" });

    my $got = $nginx->raw("GET /ws/x HTTP/1.1\r\nHost: a\r\n"
        . "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n");

    like($got, qr{^HTTP/1.1 101 .*\r\n\r\nhello$}s, 'a websocket');
    is(authorization(last_request($api)), 'Bearer AT-1', '... with the token');
    is(header(last_request($api), 'Upgrade'), 'websocket', '... upgraded');

    is($nginx->get('/grpc/x', Authorization => 'Basic abc')->{content},
        'GET Bearer AT-1', 'grpc_pass');

    for my $peer (qw(fastcgi uwsgi)) {
        my $content = $nginx->get("/$peer/x", Authorization => 'Basic abc',
            'X-A' => 'b')->{content};

        like($content, qr/^HTTP_AUTHORIZATION=Bearer AT-1$/m, "${peer}_pass");
        unlike($content, qr/Basic/, '... not the caller\'s');
        like($content, qr/^HTTP_X_A=b$/m, '... with other headers');

        $content = $nginx->raw("GET /$peer/x HTTP/1.1\r\nHost: a\r\nX-B: 1\r\n"
            . "X-C: 3\r\nX-B: 2\r\nConnection: close\r\n\r\n");
        unlike($content, qr/X_B=.*X_B=1/s, '... each once');
    }
}


# proxy_cache
{
    part(<<"END");
        location /cached/ {
            token_proxy_bearer  /held;
            proxy_pass          $api_url/;
            proxy_cache         cache;
            proxy_cache_key     \$uri\$http_authorization;
            proxy_cache_valid   any 1m;
            add_header          X-Api-Cache \$upstream_cache_status always;
        }

        location /stale/ {
            token_proxy_bearer             /token;
            proxy_pass                     $api_url/;
            proxy_cache                    cache;
            proxy_cache_valid              any 1s;
            proxy_cache_use_stale          updating;
            proxy_cache_background_update  on;
            add_header          X-Api-Cache \$upstream_cache_status always;
        }

        @{[ location('held', $endpoint->url, 'token_proxy_cache_key held',
            'token_proxy_retry_backoff 2s 2s') ]}
END

    my $got = $nginx->get('/cached/x', Authorization => 'Basic abc');
    is($got->{headers}{'x-api-cache'}, 'MISS', 'proxy_cache');

    $got = $nginx->get('/cached/x', Authorization => 'Basic abc');
    is($got->{headers}{'x-api-cache'}, 'HIT', '... keeps what the API says');

    $got = $nginx->get('/cached/x', Authorization => 'Basic other');
    is($got->{headers}{'x-api-cache'}, 'MISS',
        '... by the caller\'s $http_authorization');

    $api->next({ status => 401 }, { status => 401 });
    $endpoint->reset;
    sleep 2.1;
    is($nginx->get('/cached/401')->{status}, 401, 'a cached 401');
    is($endpoint->calls, 1, '... after another token');
    sleep 2.1;
    is($nginx->get('/cached/401')->{headers}{'x-api-cache'}, 'HIT',
        '... from the cache');
    is($endpoint->calls, 1, '... says nothing about the token');

    $nginx->get('/stale/x', Authorization => 'Basic abc');
    sleep 2.1;
    $api->reset;
    $got = $nginx->get('/stale/x', Authorization => 'Basic abc');
    is($got->{headers}{'x-api-cache'}, 'STALE', 'an update in the background');
    ok(wait_for { $api->calls == 1 }, '... asks the API');
    like(authorization(last_request($api)), qr/^Bearer AT-/, '... with the token');
}


# in company
{
    part(<<"END");
        location /api/ {
            token_proxy_bearer  /token;
            proxy_pass          $api_url/;
        }

        location /public/api/ {
            token_proxy_bearer  /public;
            proxy_pass          $api_url/;
        }

        location /if/ {
            token_proxy_bearer  /token;
            proxy_pass          $api_url/;

            if (\$arg_x) {
                set \$y 1;
            }
        }

        location /limited/ {
            token_proxy_bearer  /token;
            proxy_pass          $api_url/;

            limit_except GET {
                allow 127.0.0.1;
                deny all;
            }
        }

        location /denied/ {
            token_proxy_bearer  /slow;
            proxy_pass          $api_url/;
            deny                all;
        }

        location /authorized/ {
            auth_request        /check;
            token_proxy_bearer  /token;
            proxy_pass          $api_url/;
        }

        location = /check {
            internal;
            token_proxy_bearer      /public;
            proxy_pass              $api_url/check;
            proxy_pass_request_body off;
            proxy_set_header        Content-Length "";
        }

        location = /page.html {
            ssi  on;
        }

        @{[ location('public', $endpoint->url, 'token_proxy_cache_key public') ]}
        @{[ location('slow', $endpoint->url, 'token_proxy_cache_key slow') ]}
END

    spew($nginx->dir . '/html/page.html',
        'one: <!--#include virtual="/api/one" --> '
        . 'two: <!--#include virtual="/public/api/two" --> end');

    is($nginx->get('/if/x?x=1')->{status}, 200, 'if');
    like(authorization(last_request($api)), qr/^Bearer AT-/, '... the token');
    is($nginx->request(POST => '/limited/x', {}, 'x')->{status}, 200,
        'limit_except');
    like(authorization(last_request($api)), qr/^Bearer AT-/, '... the token');

    $nginx->get('/public/api/x');
    $endpoint->reset;
    is($nginx->get('/denied/x')->{status}, 403, 'deny');
    is($endpoint->calls, 0, '... costs no call of the endpoint');

    $api->reset;
    $nginx->get('/authorized/x');
    my @sent = $api->requests;
    is(scalar(@sent), 2, 'auth_request');
    like(authorization($_), qr/^Bearer AT-/, '... the token') for @sent;
    isnt(authorization($sent[0]), authorization($sent[1]), '... each its own');

    $api->reset;
    like($nginx->get('/page.html')->{content}, qr/one: data \d two: data \d end/,
        'SSI');
    is(scalar(grep { authorization($_) =~ /^Bearer AT-/ } $api->requests), 2,
        '... two requests with tokens');

    sleep 0.05;
    $api->reset;
    $api->next({ status => 401 });
    like($nginx->get('/page.html')->{content}, qr/one: data \d two: data \d end/,
        'SSI and a 401');
    is($api->calls, 3, '... is repeated');
}


# inheritance
{
    part(<<"END");
        token_proxy_bearer  /token;

        location /inherits/ { proxy_pass $api_url/; }
        location /off/ { token_proxy_bearer off; proxy_pass $api_url/; }
        location /static { }
        location = /status { token_proxy_status; }
END

    spew($nginx->dir . '/html/static', 'static');

    $nginx->get('/inherits/x');
    like(authorization(last_request($api)), qr/^Bearer AT-/, 'inherited');
    $nginx->get('/off/x', Authorization => 'Basic abc');
    is(authorization(last_request($api)), 'Basic abc', 'off');
    is($nginx->get('/static')->{content}, 'static', 'a file');

    # tokens of this endpoint are in backoff: files and the status need none
    $endpoint->next({ status => 500 });
    sleep 0.05;
    $api->next({ status => 401 });
    $nginx->request(POST => '/inherits/x', {}, 'x');
    is($nginx->get('/inherits/x')->{status}, 502, 'no token for the API');
    is($nginx->get('/static')->{content}, 'static', '... a file needs none');
    is($nginx->get('/status')->{status}, 200, '... nor the status');
    wait_for { $nginx->get('/inherits/x')->{status} == 200 };
}


# names that a gateway takes for one
{
    my $fastcgi = Token::Peer->fastcgi;

    part(<<"END");
        underscores_in_headers  on;

        location /underscores/ {
            token_proxy_bearer         /token;
            token_proxy_bearer_header  X-Token;
            fastcgi_pass               127.0.0.1:@{[ $fastcgi->port ]};
            fastcgi_param              REQUEST_METHOD \$request_method;
        }
END

    my $got = $nginx->get('/underscores/x', 'X_Token' => 'evil',
        'X-Other' => 'kept');

    like($got->{content}, qr/^HTTP_X_TOKEN=AT-/m, 'the token');
    unlike($got->{content}, qr/evil/, '... and not the caller\'s X_Token');
    like($got->{content}, qr/^HTTP_X_OTHER=kept/m, '... other headers are kept');
}


finish();
