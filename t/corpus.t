# The inputs of the JSON fuzzer, sent by an endpoint: what nginx makes of them
# is held against another reader's opinion, Perl's JSON::PP.

use strict;
use warnings;
use lib 't/lib';

use B ();
use File::Basename qw(basename);
use JSON::PP ();
use Test::More;
use Token::Endpoint;
use Token::Server;
use Token::Util qw($ROOT slurp);

# Refused, whatever others say: a NUL that would end a C string, and bytes that
# are no UTF-8 (JSON::PP 4.16 takes them).
my %REFUSED = map { $_ => 1 } qw(nul surrogate-utf8);

my @corpus = sort glob "$ROOT/t/fuzz/corpus/json/*";

die "t/fuzz/corpus/json has few inputs\n" if @corpus < 50;
plan(tests => 4 * @corpus + 1);

my $json = JSON::PP->new->utf8->canonical;
my $endpoint = Token::Endpoint->new;
my $location = <<"END";
    token_proxy           on;
    token_proxy_endpoint  @{[ $endpoint->url ]};
    token_proxy_client_id      my-key;
    token_proxy_client_secret  my-secret;
    token_proxy_fields    *;
END

my $nginx = Token::Server->new(
    log_level => 'error',
    http => 'token_proxy_cache_zone zone=tokens:1m;',
    server => <<"END")->start;
    location = /token {
        $location
    }

    location /cached/ {
        $location
        token_proxy_cache tokens;
        token_proxy_cache_key \$uri;
        token_proxy_cache_default_ttl 1h;
        token_proxy_retry_backoff 1ms 1ms;
    }
END

for my $file (@corpus) {
    my $name = basename($file);
    my $text = substr slurp($file), 1;
    my $wanted = $REFUSED{$name =~ s/-\d$//r} ? undef : token($text);

    $endpoint->answer(body => $text);

    my $response = $nginx->get('/token');
    my $stored = $nginx->get("/cached/$name");
    my $cached = $nginx->get("/cached/$name");

    if (!$wanted) {
        is($response->{status}, 502, "$name is refused");
        like($response->{content}, qr/^\{"error":"server_error",/,
            "... and none of it handed on");
        isnt($stored->{status}, 200, '... nor stored');
        isnt($cached->{status}, 200, '... and served later');
        next;
    }

    is($response->{status}, 200, "$name is a token answer");
    is($json->encode(eval { $json->decode($response->{content}) } // {}),
        $json->encode($wanted), '... which others read in the same way');

    for ($stored, $cached) {
        my $got = eval { $json->decode($_->{content}) } // {};
        my %other = %$wanted;

        # the seconds that are left
        $other{expires_in} = $got->{expires_in} if exists $other{expires_in};
        is($json->encode($got), $json->encode(\%other), '... from the cache too');
    }
}

$nginx->stop;
unlike($nginx->error_log, qr/\[(?:alert|emerg|crit)\]/, 'nginx has no complaint');


# A token answer as Perl reads it, or undef.
sub token {
    my ($text) = @_;
    my $answer = eval { $json->decode($text) };

    return undef if ref $answer ne 'HASH';

    my $token = $answer->{access_token};

    return undef if !defined $token || ref $token || $token eq ''
        || !(B::svref_2object(\$token)->FLAGS & B::SVf_POK);
    return $answer;
}
