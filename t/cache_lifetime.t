# How long a token is kept: expires_in in all its forms, and none.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 253;
use Time::HiRes qw(sleep time);
use Token::Cache;
use Token::Endpoint;
use Token::Server;

my $YEARS = 10 * 365 * 86400;

my $endpoint = Token::Endpoint->new;

# A location for each case, for an entry of its own.
my %cases = (
    integer     => ['3600', 3600],
    string      => ['"3600"', 3600],
    fraction    => ['3600.9', 3600],
    fraction_s  => ['"3600.5"', 3600],
    exponent    => ['3.6e3', 3600],
    one         => ['1', 1],
    large       => ['2147483648', $YEARS],
    larger      => ['9223372036854775808', $YEARS],
    absurd      => ['1e300', $YEARS],
    infinite    => ['1e400', $YEARS],
    absurd_s    => ['"1e400"', $YEARS],
    digits      => ['9' x 400, $YEARS],

    # no lifetime at all
    zero        => ['0', 0],
    zero_s      => ['"0"', 0],
    minus_zero  => ['-0', 0],
    tiny        => ['1e-400', 0],

    # no number, or one that says nothing: as if there were none
    negative    => ['-1', undef],
    negative_s  => ['"-3600"', undef],
    minus       => ['-1e400', undef],
    null        => ['null', undef],
    true        => ['true', undef],
    array       => ['[3600]', undef],
    object      => ['{"a":3600}', undef],
    empty       => ['""', undef],
    words       => ['"soon"', undef],
    units       => ['"3600s"', undef],
    hex         => ['"0x10"', undef],
    inf         => ['"inf"', undef],
    nan         => ['"nan"', undef],
    space       => ['" 3600"', undef],
    date        => ['"2030-01-01T00:00:00Z"', undef],
);

my $nginx = Token::Server->new(
    http => zone(),
    server => join '',
        (map { my $name = $_; map { location("$name$_->[0]", $endpoint->url,
            "token_proxy_cache_key $name$_->[0]", 'token_proxy_fields *',
            @{ $_->[1] }) }
            ['', []], ['_ttl', ['token_proxy_cache_default_ttl 100s']]
        } sort(keys %cases), 'missing'),
        location('short', $endpoint->url, 'token_proxy_cache_key "$arg_key"',
            'token_proxy_refresh_before 0'),
        location('other', $endpoint->url, 'token_proxy_cache_key "$arg_key"',
            'token_proxy_refresh_before 0', 'token_proxy_fields expires_in'),
        location('ttl', $endpoint->url, 'token_proxy_cache_key "$arg_key"',
            'token_proxy_refresh_before 0', 'token_proxy_cache_default_ttl 1s'),
        location('slow', $endpoint->url, 'token_proxy_cache_key slow',
            'token_proxy_fields *'),
)->start;


for my $name (sort keys %cases) {
    my ($value, $lifetime) = @{ $cases{$name} };

    # A default is for answers that tell no lifetime, or nothing that can be
    # read.
    for my $suffix ('', '_ttl') {
        my ($miss, $hit) = twice("$name$suffix", $value);

        if ($lifetime) {
            is(status($hit), 'HIT', "$name$suffix: cached");
            near($hit, $lifetime, "$name$suffix: its lifetime");
            is($miss->{headers}{'x-expires'}, $lifetime,
                "$name$suffix: \$token_proxy_expires_in of a fetch");
            like($miss->{content}, qr/"expires_in":\Q$value\E[,}]/,
                "$name$suffix: the first caller gets it as it was sent");

        } elsif (!defined $lifetime && $suffix) {
            is(status($hit), 'HIT', "$name$suffix: cached");
            is(token($hit), token($miss), "$name$suffix: for the default");
            is(in_range($hit->{headers}{'x-expires'}, 98, 100), 1,
                "$name$suffix: the lifetime is the default");

        } else {
            is(status($hit), 'MISS', "$name$suffix: not cached");
            another($hit, token($miss), "$name$suffix: a call for each");
            is($hit->{headers}{'x-expires'}, undef,
                "$name$suffix: no \$token_proxy_expires_in");
        }
    }
}


# missing
{
    my ($miss, $hit) = twice('missing', undef);

    is(status($hit), 'MISS', 'missing, no default: not cached');
    another($hit, token($miss), 'missing, no default: a call for each');

    ($miss, $hit) = twice('missing_ttl', undef);

    is(status($hit), 'HIT', 'missing, with a default: cached');
    is(member($hit, 'expires_in'), undef, 'missing: nobody makes it up');
    is(in_range($hit->{headers}{'x-expires'}, 98, 100), 1,
        'missing: the lifetime is the default');
}


# never at or after the expiry
for my $case (['short', 1], ['short', '1.5'], ['ttl', undef]) {
    my ($name, $expires_in) = @$case;
    my $what = "$name, " . ($expires_in // 'default');

    $endpoint->answer(expires_in => $expires_in);

    my $path = "/$name?key=$what" =~ tr/ ,/__/r;
    my $lifetime = $expires_in // 1;
    my $first = $nginx->get($path);
    my ($hits, $early, $late) = (0, 0, 0);

    while (time - $first->{received} < $lifetime + 0.3) {
        my $response = $nginx->get($path);

        if ((token($response) // '') eq token($first)) {
            $hits++;
            $late++ if $response->{sent} - $first->{received} > $lifetime;

        } else {
            $early++ if $response->{received} - $first->{sent} < $lifetime;
        }

        sleep 0.01;
    }

    cmp_ok($hits, '>', 3, "$what: the token is used");
    is($late, 0, "$what: but not after its expiry");
    is($early, 0, "$what: and to its end");
}


# another location's fields do not revive it
{
    $endpoint->answer(expires_in => 1);
    my $token = token($nginx->get('/short?key=other'));

    is(member($nginx->get('/other?key=other'), 'expires_in'), 0,
        'in the last second, less than a second is left');
    sleep 1.05;
    is(status($nginx->get('/other?key=other')), 'EXPIRED', 'expired for every location');
    another($nginx->get('/short?key=other'), $token, '... and gone');
}


# a lifetime counts from when the token was asked for
{
    $endpoint->answer(expires_in => 10);
    $endpoint->next({ delay => 1.1 });
    $nginx->get('/slow');

    is(in_range(member($nginx->get('/slow'), 'expires_in'), 5, 8), 1,
        'what the endpoint took to answer is not a part of the lifetime');
}

no_secrets($nginx);
$nginx->stop;


sub twice {
    my ($name, $value) = @_;
    my $expires = defined $value ? qq(,"expires_in":$value) : '';

    $endpoint->answer(body => qq({"access_token":"AT-%d"$expires}));
    return ($nginx->get("/$name"), $nginx->get("/$name"));
}


sub near {
    my ($response, $lifetime, $name) = @_;
    my $is = member($response, 'expires_in');

    ok(in_range($is, $lifetime - 2, $lifetime), $name)
        or diag($response->{content});
    is($response->{headers}{'x-expires'}, $is, "$name, as a variable");
}


sub in_range {
    my ($n, $from, $to) = @_;

    return defined $n && $n >= $from && $n <= $to ? 1 : "not $from to $to: "
        . ($n // 'undef');
}
