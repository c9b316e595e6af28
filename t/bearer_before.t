# token_proxy_bearer_retry after a renewal: an API that does not know the new
# token yet gets the one before it, as long as that is valid.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 55;
use Time::HiRes qw(sleep);
use Token::Cache;
use Token::Client;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(free_port slurp spew wait_for);

my $endpoint = Token::Endpoint->new;
my $port = free_port();

# The API says which token it was sent, and refuses those that have a file. What
# is below /held/ is answered late, so that many calls are under way at once.
my $nginx = Token::Server->new(
    workers => 2,
    listen => 'reuseport',
    http => zone() . <<"END",
    token_proxy_cache_zone  zone=plain:64k;

    map \$http_authorization \$known_token {
        "~^Bearer (?<name>AT-[a-z]+-[0-9]+)\$"  \$name;
    }

    server {
        listen      127.0.0.1:$port;
        access_log  \@DIR\@/logs/api.log;
        error_log   \@DIR\@/logs/api_error.log;

        location / {
            if (-f \@DIR\@/refused/\$known_token) {
                return 401;
            }

            return 200 "\$known_token";
        }

        location /held/ {
            auth_basic            api;
            auth_basic_user_file  /dev/null;
            auth_delay            1s;
            error_page            401 = \@held;
        }

        location \@held {
            if (-f \@DIR\@/refused/\$known_token) {
                return 401;
            }

            return 200 "\$known_token";
        }
    }
END
    server => join('', (map { location($_->[0], $endpoint->url,
            'token_proxy_cache_key "$arg_key"', "token_proxy_cache $_->[1]",
            'token_proxy_refresh_before 100%',
            'token_proxy_retry_backoff 1ms 1s') }
            ['token', 'tokens'], ['plain', 'plain'])) . <<"END",
        location /api {
            token_proxy_bearer  /token;
            proxy_pass          http://127.0.0.1:$port;
        }

        location /held/ {
            token_proxy_bearer  /token;
            proxy_pass          http://127.0.0.1:$port;
        }

        location /unused {
            token_proxy_bearer        /plain;
            token_proxy_bearer_retry  off;
            proxy_pass                http://127.0.0.1:$port;
        }
END
);

mkdir $nginx->dir . '/refused';
$nginx->start;


# the API does not know it yet
{
    renew('unknown', 20);
    refuse('AT-unknown-2');

    my $got = $nginx->get('/api?key=unknown');

    is($got->{status}, 200, 'the new token is refused: the request is repeated');
    is($got->{content}, 'AT-unknown-1', '... with the token before it');
    is($endpoint->calls, 2, '... and no call of the endpoint');
    like($nginx->error_log,
        qr/\[warn\].* was refused with status 401, the one before it is used for a while/,
        '... which the log says');

    is($nginx->request(POST => '/api?key=unknown', {}, 'x')->{content},
        'AT-unknown-1', '... a POST, which is not repeated, has it as well');
    is(token($nginx->get('/token?key=unknown')), 'AT-unknown-1',
        '... and the token location');

    my $refused = refusals();

    is($nginx->get('/api?key=unknown')->{content}, 'AT-unknown-1',
        '... and the next ones') for 1 .. 5;
    is(refusals(), $refused, '... without being refused first');
    is($endpoint->calls, 2, '... for which nobody asks again');
}


# a POST is not repeated
{
    renew('post', 20);
    refuse('AT-post-2');

    is($nginx->request(POST => '/api?key=post', {}, 'x')->{status}, 401,
        'the new token is refused for a POST: 401');
    is($nginx->request(POST => '/api?key=post', {}, 'x')->{content},
        'AT-post-1', '... the next one has the token before it');
    is($endpoint->calls, 2, '... without another call of the endpoint');
}


# many calls at once
{
    renew('many', 30);
    refuse('AT-many-2');

    my $refused = refusals();
    my $client = Token::Client->new($nginx->port);

    $client->send('/held/x?key=many') for 1 .. 300;

    my @got = $client->receive(20);
    my %got;

    $got{ $_->{content} // '' }++ for @got;

    is_deeply(\%got, { 'AT-many-1' => 300 },
        'three hundred calls with it at once: all get the token before it')
        or diag(explain \%got);
    cmp_ok(refusals() - $refused, '>', 10, '... though many were refused');
    is($endpoint->calls, 2, '... and no call of the endpoint');
    is(() = $nginx->error_log =~ /the one before it is used for a while/g, 3,
        '... with one line in the log');
}


# both are refused
{
    renew('both', 20);
    refuse('AT-both-1', 'AT-both-2');

    my $refused = refusals();

    is($nginx->get('/api?key=both')->{status}, 401,
        'both are refused: the caller is told after two requests');
    # The API may write its log after the caller has its answer.
    wait_for { refusals() - $refused >= 2 } 5;
    is(refusals() - $refused, 2, '... and no more');
    is($nginx->get('/api?key=both')->{content}, 'AT-both-3',
        '... the next one has another token');
    is($endpoint->calls, 3, '... of one call');

    my $memory = memory();

    unlike($memory, qr/AT-both-[12]/, '... and the zone has neither any more');
    like($memory, qr/AT-both-3/, '... but that one');
}


# the one before has expired
{
    renew('expired', 3);
    sleep 3;
    refuse('AT-expired-2');

    is($nginx->get('/api?key=expired')->{content}, 'AT-expired-3',
        'the token before it has expired: another one');
    is($endpoint->calls, 3, '... of one call');
}


# the one before is used to its end, and then the new one is known
{
    renew('known', 5);
    refuse('AT-known-2');

    is($nginx->get('/api?key=known')->{content}, 'AT-known-1',
        'the token before it is used');
    unlink $nginx->dir . '/refused/AT-known-2';
    ok((wait_for { $nginx->get('/api?key=known')->{content} ne 'AT-known-1' } 10),
        '... until it expires');
    is($nginx->get('/api?key=known')->{content}, 'AT-known-2',
        '... then the new one');
    is($endpoint->calls, 2, '... without another call');
}


# kept for token_proxy_bearer_retry alone, and overwritten when it goes
{
    renew('wiped', 20);
    like(memory(), qr/AT-wiped-1/, 'the token before is kept');

    renew('plain', 20, '/plain');

    my $memory = memory();

    like($memory, qr/AT-plain-2/, '... in a zone without token_proxy_bearer_retry');
    unlike($memory, qr/AT-plain-1/, '... it is not');

    # a second renewal: one token before is enough
    $endpoint->reset;
    $endpoint->answer(body => body('twice', 8));
    $nginx->get('/token?key=twice');
    wait_for { (token($nginx->get('/token?key=twice')) // '') eq 'AT-twice-2' } 8;
    $endpoint->answer(body => body('twice', 3600));
    wait_for { (token($nginx->get('/token?key=twice')) // '') eq 'AT-twice-3' } 8;

    $memory = memory();

    unlike($memory, qr/AT-twice-1/, 'the one before the token before is gone');
    like($memory, qr/AT-twice-3/, '... the last one is there');
}


$nginx->stop('QUIT');

no_secrets($nginx, qr/Bearer A/, qr/AT-[a-z]+-\d/);
unlike($nginx->error_log, qr/\[(?:alert|crit|emerg)\](?!.*(?:exit|signal))/,
    'no alert in the error log');


# A token of this key that lives for so long, and another one of its renewal.
sub renew {
    my ($key, $lifetime, $location) = @_;
    my $path = ($location // '/token') . "?key=$key";

    $endpoint->reset;
    $endpoint->answer(body => body($key, $lifetime));
    is(token($nginx->get($path)), "AT-$key-1", "$key: a token");

    $endpoint->answer(body => body($key, 3600));
    ok((wait_for { (token($nginx->get($path)) // '') eq "AT-$key-2" } 10),
        '... is renewed');
    return;
}


sub body { return qq({"access_token":"AT-$_[0]-%d","expires_in":$_[1]}) }


sub refuse { spew($nginx->dir . "/refused/$_", '') for @_; return }


sub refusals { return scalar(() = slurp($nginx->dir . '/logs/api.log') =~ / 401 /g) }


sub memory { return join '', map { $_->[1] } shared_memory(($nginx->workers)[0]) }
