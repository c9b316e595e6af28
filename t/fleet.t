# The recipe for many machines: edges whose endpoint is the token location of
# two inner nginx, as docs/recipes.md has them.

use strict;
use warnings;
use lib 't/lib';

use HTTP::Tiny;
use Test::More tests => 33;
use Token::Cert;
use Token::Client;
use Token::Endpoint;
use Token::Server;
use Token::Util qw($ROOT free_port slurp spew wait_for work_dir);

my $dir = work_dir();
my $endpoint = Token::Endpoint->new(expires_in => 600);
my $ca = Token::Cert->authority($dir, 'inner-ca');
my $cert = $ca->issue('inner', 'tokens.example.com');

my ($section) = slurp("$ROOT/docs/recipes.md")
    =~ /^## One token for many machines\n(.*?)^## /ms;
my ($edge_conf, $inner_conf) = $section =~ /^```nginx\n(.*?)^```$/msg
    or die "no recipe\n";

# the workers read it as well
chmod 0644, spew("$dir/edge", "edge-pw\n");

my @ports = map { free_port() } 1, 2;
my @inner = map { inner($_) } @ports;
my @edges = map { edge() } 1 .. 3;


# A recipe, in which each pair of strings has been replaced.
sub recipe {
    my ($conf, %replace) = @_;

    for (sort keys %replace) {
        $conf =~ s/\Q$_\E/$replace{$_}/g or die "no $_ in the recipe\n";
    }

    return $conf;
}


sub inner {
    my ($port) = @_;

    return Token::Server->new(workers => 2, http => recipe($inner_conf,
        '/etc/nginx/inner.crt' => $cert->file,
        '/etc/nginx/inner.key' => $cert->key,
        '/etc/nginx/secrets/edge' => "$dir/edge",
        'https://id.example.com/oauth2/token' => $endpoint->url,
        ' 8443 ssl' => " 127.0.0.1:$port ssl") . credentials())->start;
}


# Secrets of the application: the inner nginx alone have them.
sub credentials {
    return 'token_proxy_client_id my-key; token_proxy_client_secret my-secret;';
}


sub edge {
    my (%options) = @_;
    my $port = free_port();
    my $nginx = Token::Server->new(workers => $options{workers} // 2);

    # an inner nginx that was away is asked again sooner than in the recipe
    $nginx->configure(http => recipe($edge_conf,
        '192.0.2.11:8443' => "127.0.0.1:$ports[0] fail_timeout=1s",
        '192.0.2.12:8443' => "127.0.0.1:$ports[1] fail_timeout=1s",
        '/etc/nginx/inner-ca.crt' => $ca->file,
        '/etc/nginx/secrets/edge' => $options{password} // "$dir/edge",
        ' 8080' => " 127.0.0.1:$port")
        . 'add_header X-Expires $token_proxy_expires_in always;');
    $nginx->start;
    $nginx->{port} = $port;

    return $nginx;
}


# How often each inner nginx was asked for a token, once that is so many in all.
sub asked {
    my ($path, $all) = @_;
    my @asked;

    wait_for {
        @asked = map { scalar(() = $_->access_log =~ m{"POST $path HTTP/1\.1" 200}g) }
            @inner;
        $asked[0] + $asked[1] >= ($all // 0);
    };

    return @asked;
}


sub token { return $_[0]{content} =~ /"access_token":"([^"]+)"/ ? $1 : '' }


# many at once, and no token yet
{
    $endpoint->answer(delay => 1, expires_in => 600);

    my @clients = map { Token::Client->new($_->port) } @edges;

    for (1 .. 40) {
        $_->send('/orders') for @clients;
    }

    my @got = map { $_->receive(15) } @clients;
    my %tokens = map { token($_) => 1 } grep { ($_->{status} // 0) == 200 } @got;

    is(scalar(grep { ($_->{status} // 0) == 200 } @got), 120,
        'a hundred and twenty callers of three edges: all are answered');
    is(join(' ', keys %tokens), 'AT-1', '... with the same token');
    is($endpoint->calls, 1, '... of one call');

    my ($request) = $endpoint->requests;

    like($request, qr/^Authorization: Basic bXkta2V5Om15LXNlY3JldA==\r$/m,
        '... with the secret of the application');
    like($request, qr/&scope=orders$/, '... and its scope');
    $endpoint->answer(expires_in => 600);
}


# which of the two is asked
{
    my @asked = asked('/orders', 3);

    is(join(' ', sort @asked), '0 3', 'all edges ask the same inner nginx');

    # without the hash, a worker takes one after the other
    my $one = edge(workers => 1);

    $one->get($_) for qw(/stock /orders);
    $_->get('/stock') for @edges;

    is($endpoint->calls, 2, 'another token is one call as well');
    is(join(' ', sort { $a <=> $b } asked('/stock', 4)), '0 4',
        '... of the same inner nginx for all edges');
    is(join(' ', asked('/orders', 4)), join(' ', map { $_ && 4 } @asked),
        '... and the first token is still asked where it was');
    $one->stop;
}


# no secret goes further than it has to
{
    my $secrets = qr/my-secret|bXkta2V5Om15LXNlY3JldA|\bAT-\d/;

    # nginx itself writes the header of an edge to an inner debug log
    is(scalar(grep { $_->error_log =~ /$secrets|edge-pw|ZWRnZTplZGdlLXB3/ } @edges),
        0, 'no secret and no token in the log of an edge');
    is(scalar(grep { $_->error_log =~ /$secrets|edge-pw/ } @inner), 0,
        '... or of an inner nginx');

    my $answer = HTTP::Tiny->new(verify_SSL => 0)->get(
        "https://127.0.0.1:$ports[0]/orders");

    is($answer->{status}, 401, 'without the password of an edge: no token');
    unlike($answer->{content}, qr/AT-/, '... none at all');

    my $calls = $endpoint->calls;
    my $stranger = edge(password => spew("$dir/wrong", 'other-pw'));

    is($stranger->get('/orders')->{status}, 502,
        'an edge with another password has no token');
    is($endpoint->calls, $calls, '... and makes no call');
    $stranger->stop;
}


# what is left of a token, at an edge that comes late
{
    my $late = edge();
    my $got = $late->get('/orders');

    is(token($got), 'AT-1', 'an edge that comes late has the same token');
    cmp_ok($got->{headers}{'x-expires'}, '<', 600, '... and what is left of it');
    cmp_ok($got->{headers}{'x-expires'}, '>', 500, '... which is most');
    $late->stop;
}


# the one that has the token dies, and the token is renewed
{
    $_->stop for @edges;

    my ($first, $second) = (asked('/orders'))[0] ? (0, 1) : (1, 0);
    my $before = (asked('/orders'))[$second];

    # renewed each 2 s
    $_->stop for @inner;
    $endpoint->answer(expires_in => 4, delay => 0.1);
    $_->start for @inner, @edges;
    $endpoint->reset;

    my @loads = map { Token::Client->load($_->port, '/orders', processes => 1,
        seconds => 30, gap => 0.01) } @edges;

    ok((wait_for { $endpoint->calls >= 2 } 15), 'a token that is renewed, under load');

    my @pids = ($inner[$first]->pid, $inner[$first]->workers);

    kill KILL => @pids;
    wait_for { !grep { Token::Server::alive($_) } @pids };

    my $calls = $endpoint->calls;

    ok((wait_for { $endpoint->calls >= $calls + 2 } 15),
        'the inner nginx dies: the other one asks');
    cmp_ok((asked('/orders'))[$second] - $before, '>', 2, '... for all edges');
    unlink $inner[$first]->dir . '/logs/nginx.pid';
    $inner[$first]->start;

    my $again = (asked('/orders'))[$first];

    ok((wait_for { (asked('/orders'))[$first] > $again } 20),
        '... until it is back');

    my @results = map { $_->stop } @loads;

    for (@results) {
        cmp_ok($_->{requests}, '>', 200, 'callers of an edge meanwhile');
        is($_->{failed}, 0, '... have a token each') or diag(explain($_->{why}));
    }

    note(sprintf 'slowest: %.3f s', $_->{slowest}) for @results;
}


# both are away
{
    $_->stop for @edges, @inner;
    $endpoint->answer(expires_in => 600);
    $_->start for @inner, @edges;

    my $token = token($edges[0]->get('/orders'));

    $_->stop for @inner;
    is(token($edges[0]->get('/orders')), $token,
        'both are away: an edge has the token that it had');
    is($edges[1]->get('/orders')->{status}, 502, '... and another one none');

    $_->start for @inner;
    ok((wait_for { $edges[1]->get('/orders')->{status} == 200 } 20),
        '... until they are back');
    $_->stop for @edges, @inner;

    unlike($_->error_log, qr/\[(?:alert|emerg)\]/, 'nothing worse in a log')
        for $edges[0], $inner[0];
}
