# token_proxy_bearer with proxy_cache: what is sent out of the cache, and what
# is asked for while it is, sees the caller's headers and no token.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 62;
use Time::HiRes qw(sleep);
use Token::Cache;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(free_port wait_for);

my $endpoint = Token::Endpoint->new;
my $api = Token::Endpoint->new(body => 'data');
my $other = Token::Endpoint->new(body => 'other');
my $dead = free_port();
my $a = 'http://127.0.0.1:' . $api->port;
my $o = 'http://127.0.0.1:' . $other->port;
my $caller = 'Basic caller';

my $nginx = Token::Server->new(
    http => zone() . <<"END",
    proxy_cache_path  \@DIR\@/cache keys_zone=cache:1m;

    upstream breakable {
        server  127.0.0.1:@{[ $api->port ]} max_fails=1 fail_timeout=100s;
        server  127.0.0.1:$dead backup max_fails=1 fail_timeout=100s;
    }
END
    server => location('token', $endpoint->url, 'internal') . <<"END",
        proxy_cache_key    \$uri;
        proxy_cache_valid  any 1m;
        add_header         X-Api-Cache \$upstream_cache_status always;

        location /api/ {
            token_proxy_bearer  /token;
            proxy_pass          $a/;
            proxy_cache         cache;
            ssi                 on;
            ssi_types           *;
        }

        location /named/ {
            token_proxy_bearer         /token;
            token_proxy_bearer_header  X-Token;
            proxy_pass                 $a/;
            proxy_cache                cache;
            ssi                        on;
            ssi_types                  *;
        }

        location /added/ {
            token_proxy_bearer  /token;
            proxy_pass          $a/;
            proxy_cache         cache;
            add_before_body     /other/before;
            add_after_body      /other/after;
            addition_types      *;
        }

        location /stale/ {
            token_proxy_bearer     /token;
            proxy_pass             http://breakable/;
            proxy_cache            cache;
            proxy_cache_valid      any 1s;
            proxy_cache_use_stale  error;
            ssi                    on;
            ssi_types              *;
        }

        location /renewed/ {
            token_proxy_bearer             /token;
            proxy_pass                     $a/;
            proxy_cache                    cache;
            proxy_cache_valid              any 1s;
            proxy_cache_use_stale          updating;
            proxy_cache_background_update  on;
            ssi                            on;
            ssi_types                      *;
        }

        location /diverted/ {
            token_proxy_bearer             /token;
            proxy_pass                     $a/;
            proxy_cache                    cache;
            proxy_cache_valid              200 1s;
            proxy_cache_use_stale          updating;
            proxy_cache_background_update  on;
            proxy_intercept_errors         on;
            error_page                     500 502 = \@backup;
        }

        location \@backup { proxy_pass $o; }
        location /other/ { proxy_pass $o/; }
END
);

$nginx->start;


my $echo = '[<!--#echo var="http_authorization" default="none" -->]';
my $include = '<!--#include virtual="/other/included" -->';

# a page of the API's that is in the cache by now
sub cached {
    my ($path, $body) = @_;

    $api->next({ body => $body });
    is($nginx->get($path)->{headers}{'x-api-cache'}, 'MISS', $path);
    $other->reset;

    return;
}

sub sent { return map { /^Authorization: (.*?)\r$/mi } $other->requests }


# what is included
for my $headers ([], [Authorization => $caller]) {
    my $path = @$headers ? '/api/included' : '/api/included-without';

    cached($path, $include);

    my $got = $nginx->get($path, @$headers);

    is($got->{headers}{'x-api-cache'}, 'HIT', '... is cached');
    is($got->{content}, 'other', '... and has what it includes');
    is($other->calls, 1, '... from another server');
    is_deeply([sent()], [@$headers ? $caller : ()],
        '... which gets what the caller sent');
}

# what is shown
cached('/api/shown', $echo);
is($nginx->get('/api/shown')->{content}, '[none]', '... shows no token');
is($nginx->get('/api/shown', Authorization => $caller)->{content}, "[$caller]",
    '... but the header of the caller');

# another header
cached('/named/shown', '[<!--#echo var="http_x_token" default="none" -->]');
is($nginx->get('/named/shown', 'X-Token' => 'own')->{content}, '[own]',
    '... shows the header of the caller');

# what is added
cached('/added/x', 'data');
is($nginx->get('/added/x', Authorization => $caller)->{content},
    'otherdataother', '... and what is added');
is_deeply([sent()], [$caller, $caller], '... gets what the caller sent');

# Vary means the caller's header
{
    my @vary = (headers => [Vary => 'Authorization']);

    $api->next({ @vary, body => 'for all' }, { @vary, body => 'for one' });
    is($nginx->get('/api/varies')->{content}, 'for all', 'Vary: Authorization');
    is($nginx->get('/api/varies')->{content}, 'for all', '... is found again');
    is($nginx->get('/api/varies', Authorization => $caller)->{content},
        'for one', '... for another caller there is another');
}

# a page that includes a page
$api->next({ body => '<!--#include virtual="/api/included" -->' });
$nginx->get('/api/outer');
$other->reset;
is($nginx->get('/api/outer', Authorization => $caller)->{content}, 'other',
    'a page in a page');
is_deeply([sent()], [$caller], '... gets what the caller sent');

# renewed in the background
cached('/renewed/shown', $echo);
sleep 2.1;
$api->reset;
$api->next({ body => $echo });
my $renewed = $nginx->get('/renewed/shown');
is($renewed->{headers}{'x-api-cache'}, 'STALE', '... is renewed');
is($renewed->{content}, '[none]', '... and shows no token');
ok(wait_for { $api->calls == 1 }, '... the API is asked');
like(($api->requests)[-1], qr/^Authorization: Bearer AT-/m, '... with the token');
is($nginx->get('/renewed/shown')->{content}, '[none]', '... nor does the new page');

# renewed in the background, and sent elsewhere
for my $answer ({ status => 500 }, { close => 1 },
    { headers => ['X-Accel-Redirect' => '/other/x'] })
{
    my ($how) = keys %$answer;

    cached("/diverted/$how", 'data');
    sleep 2.1;
    $api->reset;
    $api->next($answer);

    my $got = $nginx->get("/diverted/$how", Authorization => $caller);

    is($got->{headers}{'x-api-cache'}, 'STALE', '... is renewed');
    ok(wait_for { $api->calls >= 1 }, '... the API is asked');
    like(($api->requests)[0], qr/^Authorization: Bearer AT-/m,
        '... with the token');
    ok(wait_for { $other->calls == 1 }, '... then another server');
    is_deeply([sent()], [$caller], '... with what the caller sent');
}

# stale, since no server is left to ask
cached('/stale/shown', $echo . $include);
sleep 2.1;
$api->next({ close => 1 });

for my $how ('one server after the other fails', 'none is left') {
    $other->reset;

    my $got = $nginx->get('/stale/shown', Authorization => $caller);

    is($got->{headers}{'x-api-cache'}, 'STALE', "... $how");
    is($got->{content}, "[$caller]other", '... shows the header of the caller');
    is_deeply([sent()], [$caller], '... includes with it');
}

# a worker that was started after others, and after a reload
for my $how ('a worker died', 'a reload') {
    if ($how =~ /died/) {
        my ($old) = $nginx->workers;

        kill KILL => $old;
        wait_for { my ($new) = $nginx->workers; $new && $new != $old };

    } else {
        $nginx->reload;
    }

    $other->reset;
    is($nginx->get('/api/shown')->{content}, '[none]', "$how: still no token");
    is($nginx->get('/api/included')->{content}, 'other', '... and what is included');
    is_deeply([sent()], [], '... gets none');
}

$nginx->stop('QUIT');

no_secrets($nginx, qr/Bearer A/);
is_deeply([grep { !/exit|signal/ }
    $nginx->error_log =~ /^.*\[(?:alert|emerg|crit)\].*$/mg], [],
    'no alert in the error log');
