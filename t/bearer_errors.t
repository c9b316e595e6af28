# token_proxy_bearer when something fails: no token for the API, an API that
# refuses it or is not there, error pages, callers who leave.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 132;
use Time::HiRes qw(sleep);
use Token::Bearer;
use Token::Cache;
use Token::Util qw(free_port wait_for);


# failures of the endpoint
{
    part(<<"END");
        location /failing/ {
            token_proxy_bearer  /failing;
            proxy_pass          $api_url/;
        }

        location /failing-uncached/ {
            token_proxy_bearer  /failing-uncached;
            proxy_pass          $api_url/;
        }

        location /failing-page/ {
            token_proxy_bearer  /failing;
            proxy_pass          $api_url/;
            error_page          502 503 504 /fallback;
        }

        location = /fallback {
            proxy_pass  $other_url/fallback;
        }

        @{[ location('failing', $endpoint->url('/failing'),
            'token_proxy_cache_key "$arg_key"') ]}
        @{[ location('failing-uncached', $endpoint->url('/failing'),
            'token_proxy_cache off') ]}
END

    my %status = (400 => 502, 401 => 502, 429 => 503, 500 => 502, 503 => 503);

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
    part(<<"END");
        location /api/ {
            token_proxy_bearer  /token;
            proxy_pass          $api_url/;
        }

        location /uncached/ {
            token_proxy_bearer  /uncached;
            proxy_pass          $api_url/;
        }

        location /retry/off/ {
            token_proxy_bearer        /token;
            token_proxy_bearer_retry  off;
            proxy_pass                $api_url/;
        }

        location /retry/403/ {
            token_proxy_bearer        /token;
            token_proxy_bearer_retry  403 419;
            proxy_pass                $api_url/;
        }

        location /intercept/ {
            token_proxy_bearer      /token;
            proxy_pass              $api_url/;
            proxy_intercept_errors  on;
            error_page              401 404 /fallback;
        }

        location /patient/ {
            token_proxy_bearer  /patient;
            proxy_pass          $api_url/;
        }

        @{[ location('patient', $endpoint->url, 'token_proxy_cache_key patient',
            'token_proxy_retry_backoff 60s 60s') ]}
        @{[ location('uncached', $endpoint->url, 'token_proxy_cache off') ]}

        location = /fallback {
            proxy_pass  $other_url/fallback;
        }
END

    $nginx->get('/api/x');

    for my $method (qw(GET HEAD OPTIONS)) {
        my $before = $endpoint->calls;

        sleep 0.05;
        $api->next({ status => 401 });
        $api->reset;

        my $got = $nginx->request($method => '/api/x', {});
        my @sent = $api->requests;

        is($got->{status}, 200, "401 for a $method: the caller gets a 200");
        is(scalar(@sent), 2, '... of the second request');
        like(join(' ', map { authorization($_) // '' } @sent),
            qr/^Bearer (\S+) Bearer (?!\1$)\S+$/, '... with another token');
        is($endpoint->calls, $before + 1, '... of one call');
    }

    sleep 0.05;
    $endpoint->reset;
    $api->next({ status => 401 });
    $api->reset;
    is($nginx->request(POST => '/api/x', {}, 'x=y')->{status}, 401,
        '401 for a POST: is the caller\'s');
    is($api->calls, 1, '... and not repeated');
    is($nginx->get('/api/x')->{status}, 200, '... the next caller');
    is($endpoint->calls, 1, '... has a fresh token');

    $api->next({ status => 401 });
    is($nginx->get('/patient/x')->{status}, 200, 'token_proxy_retry_backoff');

    $endpoint->reset;
    $api->reset;
    $api->next({ status => 401 });
    is($nginx->get('/patient/x')->{status}, 401, '... not again before its end');
    is($endpoint->calls, 0, '... no other token');
    is($api->calls, 1, '... no second request');

    sleep 0.05;
    $api->reset;
    $api->next({ status => 401, headers => ['WWW-Authenticate' => 'Bearer'] },
        { status => 401, headers => ['WWW-Authenticate' => 'Bearer x'] });
    my $got = $nginx->get('/api/x');
    is($got->{status}, 401, 'a second 401 is the caller\'s');
    is($got->{headers}{'www-authenticate'}, 'Bearer x', '... with its headers');
    is($api->calls, 2, '... after two requests');

    sleep 0.05;
    $endpoint->reset;
    $api->reset;
    $api->next({ status => 401 });
    is($nginx->request(GET => '/api/x', {}, 'body')->{status}, 401,
        'a GET with a body is not repeated');
    $nginx->get('/api/x');

    sleep 0.05;
    $api->reset;
    $api->next({ status => 401 });
    is($nginx->get('/retry/off/x')->{status}, 401, 'token_proxy_bearer_retry off');

    for my $code (403, 419) {
        sleep 0.05;
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

    sleep 0.05;
    $api->reset;
    $api->next({ status => 401 });
    is($nginx->get('/intercept/x')->{content}, 'data 2',
        'proxy_intercept_errors: a fresh token comes before the error page');
}


# the connection of a caller goes on
{
    part(<<"END");
        location /api/ {
            token_proxy_bearer  /token;
            proxy_pass          $api_url/;
        }
END

    my $socket = $nginx->connect;

    for my $n (1 .. 4) {
        sleep 0.05;
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
    my $dead = free_port();

    part(<<"END", <<"END");
        location /intercept/ {
            token_proxy_bearer      /token;
            proxy_pass              $api_url/;
            proxy_intercept_errors  on;
            error_page              401 404 /fallback;
        }

        location /redirect/ {
            token_proxy_bearer  /token;
            proxy_pass          $api_url/;
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

        location /next/ {
            token_proxy_bearer          /token;
            proxy_pass                  http://two/;
            proxy_next_upstream         error http_500;
        }

        location /mirrored/ {
            token_proxy_bearer  /token;
            mirror              /mirror;
            proxy_pass          $api_url/;
        }

        location = /mirror {
            internal;
            proxy_pass  $other_url/mirror;
        }

        location = /fallback {
            proxy_pass  $other_url/fallback;
        }

        location \@fallback {
            proxy_pass  $other_url;
        }
END
    upstream two {
        server  127.0.0.1:@{[ $api->port ]};
        server  127.0.0.1:@{[ $other->port ]} backup;
    }
END

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

    like($nginx->access_log, qr/\[Basic caller\]/,
        'the access log has what callers sent');
}


# a cached token that no header can have
{
    part(<<"END");
        location /judged/ {
            token_proxy_bearer  /judged;
            proxy_pass          $api_url/;
        }

        @{[ location('judged', $endpoint->url('/judged'),
            'token_proxy_retry_backoff 2s 2s') ]}
END

    my $before = () = $nginx->error_log =~ /cannot stand in a header/g;

    $endpoint->reset;
    $endpoint->next(({ body => '{"access_token":"a\u00e9b","expires_in":3600}' }) x 2);
    is($nginx->get('/judged/x')->{status}, 502, 'a token in Latin-1, cached');
    $nginx->get('/judged/x') for 1 .. 5;
    is(() = $nginx->error_log =~ /cannot stand in a header/g, $before + 1,
        '... is one line in the log for all callers');
    sleep 2.1;
    $nginx->get('/judged/x');
    is($nginx->get('/judged/x')->{status}, 200, '... and not kept');
}


# a body that has been sent while it was read cannot be sent again
{
    part(<<"END");
        location /unbuffered/ {
            token_proxy_bearer       /token;
            proxy_pass               $api_url/;
            proxy_request_buffering  off;
        }
END

    my $url = "http://127.0.0.1:@{[ $nginx->port ]}/unbuffered/x";
    my $chunks = 5;

    for my $content ('x' x 1_000_000, sub { $chunks-- ? 'chunk' : '' }) {
        sleep 0.05;
        $api->reset;
        $api->next({ status => 401 });

        my $got = HTTP::Tiny->new->request(GET => $url, { content => $content });

        is($got->{status}, 401, 'an unbuffered body, and a 401');
        is(scalar(grep { /^GET / } $api->requests), 1, '... is not repeated')
            or diag(explain [$api->requests]);
        HTTP::Tiny->new->get($url);
    }
}


# a cached refusal is not one of this token
{
    part(<<"END");
        location /stale/ {
            token_proxy_bearer     /token;
            proxy_pass             $api_url/;
            proxy_cache            cache;
            proxy_cache_key        any\$uri;
            proxy_cache_valid      any 1s;
            proxy_cache_use_stale  http_500;
        }
END

    $api->next({ status => 401 }, { status => 401 });
    $nginx->get('/stale/x');
    sleep 2.2;
    $api->reset;
    $api->next({ status => 500 });
    $nginx->get('/stale/x');
    is($api->calls, 1, 'a stale 401 in place of a 500: one request');
}


# callers who leave
{
    part(<<"END");
        location /api/ {
            token_proxy_bearer  /token;
            proxy_pass          $api_url/;
        }

        location /slow/ {
            token_proxy_bearer  /slow;
            proxy_pass          $api_url/;
        }

        location /slow-uncached/ {
            token_proxy_bearer  /uncached;
            proxy_pass          $api_url/;
        }

        @{[ location('slow', $endpoint->url, 'token_proxy_cache_key "$arg_key"') ]}
        @{[ location('uncached', $endpoint->url, 'token_proxy_cache off') ]}
END

    $endpoint->answer(delay => 3);

    for my $path (qw(/slow/x?key=1 /slow-uncached/x)) {
        my $before = $endpoint->calls;
        my $socket = $nginx->connect;

        print $socket "GET $path HTTP/1.1\r\nHost: a\r\n\r\n";
        $socket->flush;
        wait_for { $endpoint->calls > $before };
        close $socket;
        ok((wait_for { stub() == 1 } 2), "$path: the caller leaves")
            or diag(stub());
    }

    # while the second token is fetched
    for my $path (qw(/slow/x?key=1 /slow-uncached/x)) {
        $endpoint->answer();
        sleep 0.05;
        $nginx->get($path);
        $api->next({ status => 401 });
        $endpoint->next({}) if $path =~ /uncached/;
        $endpoint->next({ delay => 3 });

        my $before = $endpoint->calls;
        my $socket = $nginx->connect;

        print $socket "GET $path HTTP/1.1\r\nHost: a\r\n\r\n";
        $socket->flush;
        wait_for { $endpoint->calls >= $before + ($path =~ /uncached/ ? 2 : 1) };
        close $socket;
        ok((wait_for { stub() == 1 } 2), "$path: ... at the second token")
            or diag(stub());
    }

    $endpoint->answer();
    is($nginx->get('/api/x')->{status}, 200, 'nginx goes on');
}


finish();
