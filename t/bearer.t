# token_proxy_bearer: the token goes to the API, and nowhere else.

use strict;
use warnings;
use lib 't/lib';

use Test::More;
use IO::Socket::INET;
use Time::HiRes qw(sleep);
use Token::Cache;
use Token::Endpoint;
use Token::Peer;
use Token::Server;
use Token::Util qw(free_port slurp wait_for);

my $endpoint = Token::Endpoint->new;
my $api = Token::Endpoint->new(body => 'data %d');
my $other = Token::Endpoint->new(body => 'other');
my $fastcgi = Token::Peer->fastcgi;
my $uwsgi = Token::Peer->uwsgi;
my $h2 = free_port();
my $dead = free_port();
my $a = 'http://127.0.0.1:' . $api->port;
my $o = 'http://127.0.0.1:' . $other->port;

my $nginx = Token::Server->new(
    http => zone() . <<"END",
    log_format  secret  '\$status \$request_uri [\$http_authorization] [\$http_x_token]';
    proxy_cache_path  \@DIR\@/cache keys_zone=cache:1m;
    client_body_buffer_size  8k;

    server {
        listen      127.0.0.1:$h2 http2;
        error_log   \@DIR\@/logs/api.log info;
        access_log  off;

        location / {
            add_header  Content-Type text/plain;
            return      200 "\$request_method \$http_authorization";
        }
    }

    server {
        listen              127.0.0.1:\@PORT2\@;
        access_log          \@DIR\@/logs/access.log secret;
        token_proxy_bearer  /token;
        underscores_in_headers  on;

        location = /token {
            internal;
            token_proxy           on;
            token_proxy_endpoint  @{[ $endpoint->url ]};
            token_proxy_cache     tokens;
            token_proxy_cache_key inherited;
        }

        location /inherits/ { proxy_pass $a/; }
        location /off/ { token_proxy_bearer off; proxy_pass $a/; }
        location /static { }
        location = /status { token_proxy_status; }

        location /unbuffered/ {
            proxy_request_buffering  off;
            proxy_http_version       1.1;
            proxy_pass               $a/;
        }

        location /stale/ {
            proxy_pass               $a/;
            proxy_cache              cache;
            proxy_cache_key          any\$uri;
            proxy_cache_valid        any 1s;
            proxy_cache_use_stale    http_500;
        }

        location /underscores/ {
            token_proxy_bearer_header  X-Token;
            fastcgi_pass               127.0.0.1:@{[ $fastcgi->port ]};
            fastcgi_param              REQUEST_METHOD \$request_method;
        }

        location /judged/ {
            token_proxy_bearer  /judged-token;
            proxy_pass          $a/;
        }

        location = /judged-token {
            token_proxy                on;
            token_proxy_endpoint       @{[ $endpoint->url('/judged') ]};
            token_proxy_cache          tokens;
            token_proxy_retry_backoff  500ms 1s;
        }
    }
END
    server => join('',
        "access_log \@DIR\@/logs/access.log secret;\n",
        location('token', $endpoint->url, 'internal',
            'token_proxy_retry_backoff 500ms 1s'),
        location('public', $endpoint->url, 'token_proxy_cache_key public'),
        location('uncached', $endpoint->url, 'token_proxy_cache off'),
        location('failing', $endpoint->url('/failing'),
            'token_proxy_cache_key "$arg_key"'),
        location('failing-uncached', $endpoint->url('/failing'),
            'token_proxy_cache off'),
        location('slow', $endpoint->url, 'token_proxy_cache_key "$arg_key"'),
        <<"END"),
        proxy_http_version  1.1;
        proxy_set_header    Connection "";
        error_page          404 /inherited-page;

        location \@named {
            token_proxy           on;
            token_proxy_endpoint  @{[ $endpoint->url ]};
            token_proxy_cache     tokens;
            token_proxy_cache_key named;
        }

        location /api/ {
            token_proxy_bearer  /token;
            proxy_pass          $a/;
        }

        location /public/api/ {
            token_proxy_bearer  /public;
            proxy_pass          $a/;
        }

        location /named/ {
            token_proxy_bearer  \@named;
            proxy_pass          $a/;
        }

        location /uncached/ {
            token_proxy_bearer  /uncached;
            proxy_pass          $a/;
        }

        location /key/ {
            token_proxy_bearer         /token;
            token_proxy_bearer_header  X-Token;
            proxy_pass                 $a/;
        }

        location /scheme/ {
            token_proxy_bearer         /token;
            token_proxy_bearer_header  Authorization DPoP;
            proxy_pass                 $a/;
        }

        location /variable/ {
            token_proxy_bearer         /token;
            token_proxy_bearer_header  X-Token;
            proxy_set_header           X-Other \$token_proxy_access_token;
            proxy_set_header           X-Caller \$http_x_token;
            proxy_pass                 $a/;
        }

        location /no-variable/ {
            proxy_set_header  X-Other "\$token_proxy_access_token";
            proxy_pass        $a/;
        }

        location /ws/ {
            token_proxy_bearer  /token;
            proxy_pass          $a/;
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

        location /cached/ {
            token_proxy_bearer  /token;
            proxy_pass          $a/;
            proxy_cache         cache;
            proxy_cache_key     \$uri\$http_authorization;
            proxy_cache_valid   any 1m;
            add_header          X-Api-Cache \$upstream_cache_status always;
        }

        location /stale/ {
            token_proxy_bearer             /token;
            proxy_pass                     $a/;
            proxy_cache                    cache;
            proxy_cache_valid              any 1s;
            proxy_cache_use_stale          updating;
            proxy_cache_background_update  on;
            add_header          X-Api-Cache \$upstream_cache_status always;
        }

        location /failing/ {
            token_proxy_bearer  /failing;
            proxy_pass          $a/;
        }

        location /failing-uncached/ {
            token_proxy_bearer  /failing-uncached;
            proxy_pass          $a/;
        }

        location /failing-page/ {
            token_proxy_bearer  /failing;
            proxy_pass          $a/;
            error_page          502 503 504 /fallback;
        }

        location /retry/off/ {
            token_proxy_bearer        /token;
            token_proxy_bearer_retry  off;
            proxy_pass                $a/;
        }

        location /retry/403/ {
            token_proxy_bearer        /token;
            token_proxy_bearer_retry  403 419;
            proxy_pass                $a/;
        }

        location /intercept/ {
            token_proxy_bearer      /token;
            proxy_pass              $a/;
            proxy_intercept_errors  on;
            error_page              401 404 /fallback;
        }

        location /redirect/ {
            token_proxy_bearer  /token;
            proxy_pass          $a/;
        }

        location /dead/ {
            token_proxy_bearer  /token;
            proxy_pass          http://127.0.0.1:$dead/;
            error_page          502 /fallback;
        }

        location /down/ {
            token_proxy_bearer  /token;
            proxy_pass          http://\$arg_host/;
            error_page          502 \@fallback;
        }

        location /unbuffered/ {
            token_proxy_bearer       /token;
            proxy_pass               $a/;
            proxy_request_buffering  off;
        }

        location /next/ {
            token_proxy_bearer          /token;
            proxy_pass                  http://two/;
            proxy_next_upstream         error http_500;
        }

        location = /fallback {
            proxy_pass  $o/fallback;
        }

        location \@fallback {
            proxy_pass  $o;
        }

        location /mirrored/ {
            token_proxy_bearer  /token;
            mirror              /mirror;
            proxy_pass          $a/;
        }

        location = /mirror {
            internal;
            proxy_pass  $o/mirror;
        }

        location /if/ {
            token_proxy_bearer  /token;
            proxy_pass          $a/;

            if (\$arg_x) {
                set \$y 1;
            }
        }

        location /limited/ {
            token_proxy_bearer  /token;
            proxy_pass          $a/;

            limit_except GET {
                allow 127.0.0.1;
                deny all;
            }
        }

        location /denied/ {
            token_proxy_bearer  /slow;
            proxy_pass          $a/;
            deny                all;
        }

        location /authorized/ {
            auth_request        /check;
            token_proxy_bearer  /token;
            proxy_pass          $a/;
        }

        location = /check {
            internal;
            token_proxy_bearer      /public;
            proxy_pass              $a/check;
            proxy_pass_request_body off;
            proxy_set_header        Content-Length "";
        }

        location = /page.html {
            ssi  on;
        }

        location /slow/ {
            token_proxy_bearer  /slow;
            proxy_pass          $a/;
        }

        location /slow-uncached/ {
            token_proxy_bearer  /uncached;
            proxy_pass          $a/;
        }

        location = /stub { stub_status; access_log off; }
END
);

my $port2 = free_port();
$nginx->configure(http => ($nginx->{http} =~ s/\@PORT2\@/$port2/r)
    . "upstream two { server 127.0.0.1:" . $api->port
    . "; server 127.0.0.1:" . $other->port . " backup; }\n");
$nginx->start;

Token::Util::spew($nginx->dir . '/html/page.html',
    'one: <!--#include virtual="/api/one" --> '
    . 'two: <!--#include virtual="/public/api/two" --> end');
Token::Util::spew($nginx->dir . '/html/static', 'static');


# what goes to the API
{
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
    for my $size (10, 100_000) {
        my $body = 'b' x $size;

        for my $location (qw(api unbuffered uncached)) {
            $nginx->request(POST => "/$location/x",
                { Authorization => 'Basic abc' }, $body);

            my $sent = last_request($api);
            my ($content) = $sent =~ /\r\n\r\n(.*)/s;

            like(authorization($sent), qr/^Bearer AT-\d+$/,
                "/$location/: a body of $size bytes");
            is($content, $body, '... as it is') if $sent =~ /Content-Length/i;
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
    like(read_all($socket), qr/^data/m, 'a body that comes late');
    is(authorization(last_request($api)), 'Bearer AT-1', '... with the token');
}


# other locations
{
    like($nginx->get('/public/api/x')->{content}, qr/^data/, 'another location');
    my $public = authorization(last_request($api));
    isnt($public, 'Bearer AT-1', '... has a token of its own');

    $nginx->get('/named/x');
    like(authorization(last_request($api)), qr/^Bearer AT-\d+$/,
        'a named location');

    $endpoint->reset;
    $nginx->get('/uncached/x') for 1, 2;
    is($endpoint->calls, 2, 'without a cache: a token for each request');
    is(authorization(last_request($api)), 'Bearer AT-2', '... the last one');
}


# the header
{
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
    my $got = $nginx->raw("GET /ws/x HTTP/1.1\r\nHost: a\r\n"
        . "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        if $api->next({ raw => "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n"
            . "Connection: Upgrade\r\n\r\nhello" }) || 1;

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
    my $got = $nginx->get('/cached/x', Authorization => 'Basic abc');
    is($got->{headers}{'x-api-cache'}, 'MISS', 'proxy_cache');

    $got = $nginx->get('/cached/x', Authorization => 'Basic abc');
    is($got->{headers}{'x-api-cache'}, 'HIT', '... keeps what the API says');

    $got = $nginx->get('/cached/x', Authorization => 'Basic other');
    is($got->{headers}{'x-api-cache'}, 'MISS',
        '... by the caller\'s $http_authorization');

    $api->next({ status => 401 }, { status => 401 });
    $endpoint->reset;
    sleep 0.6;
    is($nginx->get('/cached/401')->{status}, 401, 'a cached 401');
    is($endpoint->calls, 1, '... after another token');
    sleep 0.6;
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


# failures of the endpoint
{
    my %status = (400 => 502, 401 => 502, 429 => 503, 500 => 502, 503 => 503);

    $api->reset;

    for my $location (qw(failing failing-uncached)) {
        for my $code (sort keys %status) {
            $endpoint->next({ status => $code });

            my $got = $nginx->get("/$location/x?key=$code");

            is($got->{status}, $status{$code}, "/$location/: $code");
            like($got->{content}, qr/^\{"error":"\w+"/, '... is told in JSON');
            is($got->{headers}{'cache-control'}, 'no-store', '... not kept');
        }
    }

    is($nginx->get('/failing/x?key=503')->{status}, 503, 'in backoff');
    $endpoint->next({ body => '{"access_token":"a\u000ab"}', });
    is($nginx->get('/failing-uncached/x')->{status}, 502,
        'a token with a line feed');
    $endpoint->next({ body => '{"access_token":"a\u00e9b"}', });
    is($nginx->get('/failing-uncached/x')->{status}, 502, 'a token in Latin-1');
    $endpoint->next({ close => 1 });
    is($nginx->request(POST => '/failing-uncached/x', {}, 'x' x 100_000)->{status},
        502, 'a closed connection, for a request with a body');
    is($api->calls, 0, 'the API was not called for any of them');

    like($nginx->error_log, qr/cannot stand in a header/, 'the log tells');


    $endpoint->next({ close => 1 });
    my $got = $nginx->get('/failing-page/x?key=page', Authorization => 'Basic caller');
    is($got->{status}, 502, 'an error page of the location');
    is($got->{content}, 'other', '... is shown');
    is(authorization(last_request($other)), 'Basic caller',
        '... and sees the caller\'s header');
    is($api->calls, 0, '... in place of the API');
}


# the API refuses the token
{
    for my $method (qw(GET HEAD OPTIONS)) {
        my $before = $endpoint->calls;

        sleep 0.6;
        $api->next({ status => 401 });
        $api->reset;

        my $got = $nginx->request($method => '/api/x', {});
        my @sent = $api->requests;

        is($got->{status}, 200, "401 for a $method: the caller gets a 200");
        is(scalar(@sent), 2, '... of the second request');
        isnt(authorization($sent[0]), authorization($sent[1]),
            '... with another token');
        is($endpoint->calls, $before + 1, '... of one call');
    }

    sleep 0.6;
    $endpoint->reset;
    $api->next({ status => 401 });
    $api->reset;
    is($nginx->request(POST => '/api/x', {}, 'x=y')->{status}, 401,
        '401 for a POST: is the caller\'s');
    is($api->calls, 1, '... and not repeated');
    is($nginx->get('/api/x')->{status}, 200, '... the next caller');
    is($endpoint->calls, 1, '... has a fresh token');

    $api->reset;
    $api->next({ status => 401 });
    is($nginx->get('/api/x')->{status}, 401,
        'not again within token_proxy_retry_backoff');
    is($endpoint->calls, 1, '... no other token');
    is($api->calls, 1, '... no second request');

    sleep 0.6;
    $api->reset;
    $api->next({ status => 401, headers => ['WWW-Authenticate' => 'Bearer'] },
        { status => 401, headers => ['WWW-Authenticate' => 'Bearer x'] });
    my $got = $nginx->get('/api/x');
    is($got->{status}, 401, 'a second 401 is the caller\'s');
    is($got->{headers}{'www-authenticate'}, 'Bearer x', '... with its headers');
    is($api->calls, 2, '... after two requests');

    sleep 0.6;
    $endpoint->reset;
    $api->reset;
    $api->next({ status => 401 });
    is($nginx->request(GET => '/api/x', {}, 'body')->{status}, 401,
        'a GET with a body is not repeated');
    $nginx->get('/api/x');

    sleep 0.6;
    $api->reset;
    $api->next({ status => 401 });
    is($nginx->get('/retry/off/x')->{status}, 401, 'token_proxy_bearer_retry off');

    for my $code (403, 419) {
        sleep 0.6;
        $api->reset;
        $api->next({ status => $code });
        is($nginx->get('/retry/403/x')->{status}, 200, "... for $code");
        is($api->calls, 2, '... two requests');
    }

    $api->next({ status => 401 });
    is($nginx->get('/retry/403/x')->{status}, 401, '... and for no other');

    $api->reset;
    $api->next({ status => 401 });
    is($nginx->get('/uncached/x')->{status}, 200, 'without a cache: 401');
    is($api->calls, 2, '... is repeated as well');

    sleep 0.6;
    $api->reset;
    $api->next({ status => 401 });
    is($nginx->get('/intercept/x')->{content}, 'data 2',
        'proxy_intercept_errors: a fresh token comes before the error page');
}


# the connection of a caller goes on
{
    my $socket = $nginx->connect;

    for my $n (1 .. 4) {
        sleep 0.6;
        $api->next({ status => 401 });
        print $socket "GET /api/x HTTP/1.1\r\nHost: a\r\n\r\n";
        $socket->flush;
        sysread $socket, my $bytes, 65536;
        like($bytes, qr{^HTTP/1\.1 200 }, "a kept connection, retry $n");
    }

    close $socket;
    ok(wait_for { stub() == 1 }, 'no connection stays');
}


# error pages, redirects and mirrors do not get the token
{
    my $caller = 'Basic caller';

    for my $path (qw(/intercept/x /redirect/x /dead/x), "/down/x?host=127.0.0.1:$dead",
        '/down/x?host=none.invalid')
    {
        $other->reset;
        $api->next({ status => 404 }) if $path =~ /intercept/;
        $api->next({ headers => ['X-Accel-Redirect' => '/fallback'] })
            if $path =~ /redirect/;

        my $got = $nginx->get($path, Authorization => $caller);

        is($got->{content}, 'other', "$path: an error page by another server");
        is(authorization(last_request($other)), $caller,
            '... which sees the caller\'s header');
    }

    $other->reset;
    $api->next({ status => 500 });
    my $got = $nginx->get('/next/x');
    is($got->{content}, 'other', 'proxy_next_upstream');
    like(authorization(last_request($other)), qr/^Bearer AT-/,
        '... is the same API, and gets the token');

    for my $method (qw(GET POST)) {
        $other->reset;
        $nginx->request($method => '/mirrored/x', { Authorization => $caller },
            $method eq 'POST' ? 'body' : undef);
        wait_for { $other->calls };
        is(authorization(last_request($other)), $caller,
            "$method: a mirror sees the caller\'s header");
        like(authorization(last_request($api)), qr/^Bearer AT-/,
            '... the API the token');
    }
}


# in company
{
    is($nginx->get('/if/x?x=1')->{status}, 200, 'if');
    like(authorization(last_request($api)), qr/^Bearer AT-/, '... the token');
    is($nginx->request(POST => '/limited/x', {}, 'x')->{status}, 200,
        'limit_except');
    like(authorization(last_request($api)), qr/^Bearer AT-/, '... the token');

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

    sleep 0.6;
    $api->reset;
    $api->next({ status => 401 });
    like($nginx->get('/page.html')->{content}, qr/one: data \d two: data \d end/,
        'SSI and a 401');
    is($api->calls, 3, '... is repeated');
}


# inheritance
{
    my $client = HTTP::Tiny->new;
    my $url = "http://127.0.0.1:$port2";

    $client->get("$url/inherits/x");
    like(authorization(last_request($api)), qr/^Bearer AT-/, 'inherited');
    $client->get("$url/off/x", { headers => { Authorization => 'Basic abc' } });
    is(authorization(last_request($api)), 'Basic abc', 'off');
    is($client->get("$url/static")->{content}, 'static', 'a file');

    # tokens of this endpoint are in backoff: files and the status need none
    $endpoint->next({ status => 500 });
    sleep 0.6;
    $api->next({ status => 401 });
    $client->post("$url/inherits/x", { content => 'x' });
    is($client->get("$url/inherits/x")->{status}, 502, 'no token for the API');
    is($client->get("$url/static")->{content}, 'static', '... a file needs none');
    is($client->get("$url/status")->{status}, 200, '... nor the status');
    wait_for { $client->get("$url/inherits/x")->{status} == 200 };
}


# a cached token that no header can have
{
    my $client = HTTP::Tiny->new;
    my $url = "http://127.0.0.1:$port2/judged/x";
    my $before = () = $nginx->error_log =~ /cannot stand in a header/g;

    $endpoint->reset;
    $endpoint->next(({ body => '{"access_token":"a\u00e9b","expires_in":3600}' }) x 2);
    is($client->get($url)->{status}, 502, 'a token in Latin-1, cached');
    $client->get($url) for 1 .. 5;
    is(() = $nginx->error_log =~ /cannot stand in a header/g, $before + 1,
        '... is one line in the log for all callers');
    sleep 0.6;
    $client->get($url);
    is($client->get($url)->{status}, 200, '... and not kept');
}


# a body that has been sent while it was read cannot be sent again
{
    my $url = "http://127.0.0.1:$port2/unbuffered/x";
    my $chunks = 5;

    for my $content ('x' x 1_000_000, sub { $chunks-- ? 'chunk' : '' }) {
        sleep 1.1;
        $api->reset;
        $api->next({ status => 401 });

        my $got = HTTP::Tiny->new->request(GET => $url, { content => $content });

        is($got->{status}, 401, 'an unbuffered body, and a 401');
        is(scalar(grep { /^GET / } $api->requests), 1, '... is not repeated')
            or diag(explain [$api->requests]);
        HTTP::Tiny->new->get($url);
    }
}


# names that a gateway takes for one
{
    my $got = HTTP::Tiny->new->get("http://127.0.0.1:$port2/underscores/x",
        { headers => { 'X_Token' => 'evil', 'X-Other' => 'kept' } });

    like($got->{content}, qr/^HTTP_X_TOKEN=AT-/m, 'the token');
    unlike($got->{content}, qr/evil/, '... and not the caller\'s X_Token');
    like($got->{content}, qr/^HTTP_X_OTHER=kept/m, '... other headers are kept');
}


# a cached refusal is not one of this token
{
    my $client = HTTP::Tiny->new;
    my $url = "http://127.0.0.1:$port2/stale/x";

    sleep 1.1;
    $api->next({ status => 401 }, { status => 401 });
    $client->get($url);
    sleep 2.2;
    $api->reset;
    $api->next({ status => 500 });
    $client->get($url);
    is($api->calls, 1, 'a stale 401 in place of a 500: one request');
}


# callers who leave
{
    $endpoint->answer(delay => 0.4);
    $endpoint->reset;
    $api->reset;

    for my $path (qw(/slow/x?key=1 /slow-uncached/x)) {
        my $before = $endpoint->calls;
        my $socket = $nginx->connect;

        print $socket "GET $path HTTP/1.1\r\nHost: a\r\n\r\n";
        $socket->flush;
        wait_for { $endpoint->calls > $before } 1;
        close $socket;
        ok(wait_for { stub() == 1 }, "$path: the caller leaves")
            or diag(stub());
    }

    # while the second token is fetched
    for my $path (qw(/slow/x?key=1 /slow-uncached/x)) {
        $endpoint->answer();
        sleep 0.6;
        $nginx->get($path);
        $api->next({ status => 401 });
        $endpoint->next({}) if $path =~ /uncached/;
        $endpoint->next({ delay => 0.5 });

        my $before = $endpoint->calls;
        my $socket = $nginx->connect;

        print $socket "GET $path HTTP/1.1\r\nHost: a\r\n\r\n";
        $socket->flush;
        wait_for { $endpoint->calls >= $before + ($path =~ /uncached/ ? 2 : 1) };
        close $socket;
        ok(wait_for { stub() == 1 }, "$path: ... at the second token")
            or diag(stub());
    }

    $endpoint->answer();
    is($nginx->get('/api/x')->{status}, 200, 'nginx goes on');
}

$nginx->stop('QUIT');

no_secrets($nginx, qr/Bearer A/);
unlike(slurp($nginx->dir . '/logs/access.log'), qr/[AR]T-\d/,
    'no token in the access log');
like(slurp($nginx->dir . '/logs/access.log'), qr/\[Basic caller\]/,
    '... but what callers sent');
is_deeply([grep { !/exiting|signal/ }
    $nginx->error_log =~ /^.*\[(?:alert|emerg|crit)\].*$/mg], [],
    'no alert in the error log');

done_testing;


sub last_request { return ($_[0]->requests)[-1] }

sub header {
    my ($request, $name) = @_;
    my @values = $request =~ /^\Q$name\E: (.*?)\r$/mig;

    return @values > 1 ? "@values" : $values[0];
}

sub authorization { return header($_[0], 'Authorization') }

sub stub {
    return $nginx->get('/stub')->{content} =~ /Active connections: (\d+)/
        ? $1 : -1;
}

sub read_all {
    my ($socket) = @_;
    my $answer = '';

    local $SIG{ALRM} = sub { die "no answer\n" };
    alarm 10;
    1 while sysread $socket, $answer, 65536, length $answer;
    alarm 0;
    return $answer;
}
