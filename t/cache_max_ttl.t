# What bounds the lifetime of a cached token: token_proxy_cache_max_ttl, and
# the end of what it was exchanged for.

use strict;
use warnings;
use lib 't/lib';

use Test::More;
use JSON::PP qw(encode_json);
use MIME::Base64 qw(encode_base64url);
use Time::HiRes qw(sleep time);
use Token::Cache;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(spew wait_for work_dir);

# What is sent as a parameter, and the seconds that a token is kept for it;
# undef for those that its answer tells.
my %subjects = (
    soon        => [jwt(exp => time + 100), 100],
    string      => [jwt(exp => sprintf '%d', time + 100), 100],
    fraction    => [jwt(exp => time + 100.5), 100],
    later       => [jwt(exp => time + 86400), undef],
    absurd      => [jwt(exp => 1e300), undef],
    no_exp      => [jwt(sub => 'user'), undef],
    null        => [jwt(exp => undef), undef],
    words       => [jwt(exp => 'soon'), undef],
    opaque      => ['b3BhcXVl', undef],
    two_parts   => [jwt(exp => time + 100) =~ s/\.[^.]*$//r, undef],
    five_parts  => [jwt(exp => time + 100) . '.a.b', undef],
    no_json     => ['a.' . encode_base64url('exp') . '.b', undef],
    no_base64   => ['a.*.b', undef],
    past        => [jwt(exp => time - 1), 0],
    negative    => [jwt(exp => -1), 0],
);
my @parameters = qw(subject_token actor_token assertion);
my $EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
my $JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';

die "few subjects\n" if keys %subjects < 15;
plan(tests => 3 * keys(%subjects) + 42);

my $dir = work_dir();
my $endpoint = Token::Endpoint->new;
my $past = Token::Endpoint->new;
my $url = $endpoint->url;
my @all = ('token_proxy_fields *');
my @at_end = (@all, 'token_proxy_refresh_before 0');

system("openssl genpkey -algorithm RSA -out $dir/rsa.key 2>/dev/null") == 0
    or die "openssl\n";
chmod 0600, "$dir/rsa.key";
spew("$dir/soon", jwt(exp => time + 10));
chmod 0600, "$dir/soon";

my $nginx = Token::Server->new(
    http => zone() . "token_proxy_cache_max_ttl 1h;\n",
    server => "token_proxy_cache_max_ttl 2m;\n" . join('',
        location('server', $url, @all),
        location('ids', $url, 'token_proxy_fields expires_in token_type'),
        location('longer', $url, @all, 'token_proxy_cache_max_ttl 2h'),
        location('brief', $url, @at_end, 'token_proxy_cache_max_ttl 2s'),
        location('renewed', $url, @all, 'token_proxy_cache_max_ttl 8s'),
        location('none', $url, @all, 'token_proxy_cache off'),
        location('default', $url, @all, 'token_proxy_cache_key default',
            'token_proxy_cache_default_ttl 1h'),
        location('unknown', $url, @all, 'token_proxy_cache_key unknown'),
        location('own', $url, @all, 'token_proxy_cache_max_ttl 1d',
            "token_proxy_grant_type $JWT_BEARER",
            "token_proxy_private_key $dir/rsa.key",
            'token_proxy_auth_method none'),
        (map { location($_, $url, @all, 'token_proxy_cache_max_ttl 1d',
            "token_proxy_grant_type $EXCHANGE", "token_proxy_param $_ \$arg_a")
        } @parameters),
        location('past', $past->url, 'token_proxy_param subject_token $arg_a'),
        location('json', $url, @all, 'token_proxy_cache_max_ttl 1d',
            'token_proxy_request json', 'token_proxy_param subject_token $arg_a'),
        location('bare', $url, @all, 'token_proxy_cache off',
            'token_proxy_param subject_token $arg_a'),
        location('other', $url, @all, 'token_proxy_cache_max_ttl 1d',
            'token_proxy_param requested_token $arg_a'),
        location('both', $url, @all, 'token_proxy_cache_max_ttl 50s',
            'token_proxy_param subject_token $arg_a'),
        location('file', $url, @all, 'token_proxy_cache_max_ttl 1d',
            "token_proxy_param subject_token file:$dir/soon")),
)->start;


# token_proxy_cache_max_ttl
{
    my ($miss, $hit) = twice('server');

    is(status($hit), 'HIT', 'a token is kept');
    told($miss, 120, 'the first caller is told the lifetime in the cache');
    told($hit, [118, 120], '... and so is the next');

    my $ids = $nginx->get('/ids');
    is(status($ids), 'HIT', 'a location with other fields has the same token');
    is(in_range(member($ids, 'expires_in'), 118, 120), 1, '... and lifetime');

    ($miss, $hit) = twice('longer');
    is(status($miss), 'MISS', 'a location with another maximum has its own token');
    told($miss, 3600, '... which a longer maximum leaves as it is');
    told($hit, [3598, 3600], '... in the cache, too');

    ($miss) = twice('none');
    is(member($miss, 'expires_in'), 3600, 'without a cache there is no maximum');

    my $at = int(time) + 86400;
    $endpoint->answer(expires_in => undef, members => { expires_at => $at });
    ($miss, $hit) = twice('renewed');
    is(member($hit, 'expires_in'), undef, 'a lifetime that an answer does not tell is not made up');
    is(in_range($hit->{headers}{'x-expires'}, 6, 8), 1, '... and bounded');
    is(member($hit, 'expires_at'), $at, '... while other members are as they were sent');
    $endpoint->answer;

    $endpoint->answer(expires_in => undef);
    ($miss, $hit) = twice('default');
    is(in_range($hit->{headers}{'x-expires'}, 118, 120), 1,
        'token_proxy_cache_default_ttl is bounded as well');

    ($miss, $hit) = twice('unknown');
    is(status($hit), 'MISS', '... and a maximum alone is no lifetime');
    $endpoint->answer;
}


# to its end, and no longer
{
    my $first = $nginx->get('/brief');
    my ($hits, $late) = (0, 0);

    while (time - $first->{received} < 2.5) {
        my $got = $nginx->get('/brief');

        if (token($got) eq token($first)) {
            $hits++;
            $late++ if $got->{sent} - $first->{received} > 2;
        }

        sleep 0.05;
    }

    cmp_ok($hits, '>', 0, 'a token is used until the maximum');
    is($late, 0, '... and not after it, though it would be valid for an hour');
    another($nginx->get('/brief'), token($first), '... when another one is there');
}


# renewal is ahead of that end
{
    my $first = token($nginx->get('/renewed'));
    my $renewed = 0;

    for (1 .. 100) {
        my $got = $nginx->get('/renewed');

        $renewed = 1 if token($got) ne $first && status($got) eq 'HIT';
        last if $renewed || status($got) ne 'HIT';
        sleep 0.1;
    }

    is($renewed, 1, 'a token is renewed ahead of the maximum');
}


# what it was exchanged for
for my $name (sort keys %subjects) {
    my ($subject, $lifetime) = @{ $subjects{$name} };
    my ($miss, $hit) = twice("subject_token?a=$subject");

    if (defined $lifetime && !$lifetime) {
        is(status($hit), 'MISS', "$name: what has expired brings a token that is not kept");
        is(member($miss, 'expires_in'), 0, "$name: ... as its caller is told");
        is(token($hit) ne token($miss), 1, "$name: ... each time");
        next;
    }

    is(status($hit), 'HIT', "$name: kept");
    is(in_range(member($miss, 'expires_in'), defined $lifetime
        ? ($lifetime - 20, $lifetime) : (3600, 3600)), 1,
        "$name: the first caller is told for how long");
    is(in_range(member($hit, 'expires_in'), defined $lifetime
        ? ($lifetime - 20, $lifetime) : (3580, 3600)), 1, "$name: ... and the next");
}

$nginx->get("/past?a=$subjects{past}[0]");
like($nginx->error_log, qr/\[warn\].* is not kept, .*: what it was exchanged for has expired/,
    'the log says that what a token was exchanged for has expired');

{
    my $jwt = jwt(exp => time + 100, sub => 'another');

    for my $where ('actor_token', 'assertion', 'json') {
        told(scalar $nginx->get("/$where?a=$jwt"), [80, 100], "$where bounds");
    }

    told(scalar $nginx->get("/both?a=$jwt"), 50, 'the lesser of two bounds counts');
    told(scalar $nginx->get("/other?a=$jwt"), 3600, 'another parameter bounds nothing');
    told(scalar $nginx->get("/bare?a=$jwt"), 3600, 'without a cache nothing is bounded');
    told(scalar $nginx->get('/own'), 3600,
        'an assertion that nginx signs anew for each call bounds nothing');
}


# A renewal by the same token would last no longer; a file may have another.
{
    my $jwt = jwt(exp => int(time) + 8);
    my $first = token($nginx->get("/subject_token?a=$jwt"));
    my $file = token($nginx->get('/file'));
    my $until = time + 6;
    my $hits = 0;

    while (time < $until) {
        my $got = $nginx->get("/subject_token?a=$jwt");
        $hits++ if token($got) eq $first && status($got) eq 'HIT';
        $nginx->get('/file');
        sleep 0.2;
    }

    cmp_ok($hits, '>', 5, 'a token is used until what it was exchanged for ends');
    my @sent = grep { /\bsubject_token=\Q$jwt\E/ } $endpoint->requests;
    is(scalar(@sent), 1, '... without renewals, which would last no longer');
    another($nginx->get('/file'), $file, 'one whose file may have changed is renewed');

    spew("$dir/soon", jwt(exp => time + 1000));
    is(wait_for(sub { ($nginx->get('/file')->{headers}{'x-expires'} // 0) > 900 }, 20), 1,
        '... and bounded by what is in the file then');
}

no_secrets($nginx);
$nginx->stop;


sub jwt {
    my (%claims) = @_;

    return join '.', map { encode_base64url($_) } '{"alg":"RS256"}',
        encode_json(\%claims), 'signature';
}


sub twice { return ($nginx->get("/$_[0]"), $nginx->get("/$_[0]")) }


# expires_in and the variable say the same
sub told {
    my ($response, $expected, $name) = @_;
    my $is = member($response, 'expires_in');

    ok(in_range($is, ref $expected ? @$expected : ($expected, $expected)) eq '1', $name)
        or diag($response->{content});
    is($response->{headers}{'x-expires'}, $is, "$name: as a variable");
}


sub in_range {
    my ($n, $from, $to) = @_;

    return defined $n && $n >= $from && $n <= $to ? 1 : "not $from to $to: "
        . ($n // 'undef');
}
