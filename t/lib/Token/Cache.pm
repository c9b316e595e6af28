package Token::Cache;

# What the tests of the cache share: configuration, and what a caller got.
#
#     my $nginx = Token::Server->new(
#         http => zone(),                                  # zone "tokens", 1m
#         server => location('a', $endpoint->url, 'token_proxy_fields *'));
#     my $response = $nginx->get('/a');
#     token($response);     # its access_token
#     status($response);    # its $token_proxy_cache_status
#     member($response, 'expires_in');
#     another($response, $token, $name);       # a test: it has another token
#     no_secrets($nginx);   # a test: the debug log holds no secret, no token
#     shared_memory($pid);  # ([address, bytes], ...): the zones, in a worker

use strict;
use warnings;

use Exporter qw(import);
use JSON::PP qw(decode_json);
use Test::Builder;
use Token::Util qw(slurp);

our @EXPORT = qw(zone location token status member another
    no_secrets shared_memory);


# The http level: a zone, credentials, and what the answers tell the test.
sub zone {
    my ($size) = @_;
    $size //= '1m';

    return <<"END";
    token_proxy_cache_zone     zone=tokens:$size;
    token_proxy_client_id      my-key;
    token_proxy_client_secret  my-secret;
    add_header  X-Cache    \$token_proxy_cache_status always;
    add_header  X-Expires  \$token_proxy_expires_in always;
    add_header  X-Calls    \$token_proxy_upstream_status always;
    add_header  X-Time     \$token_proxy_upstream_time always;
    add_header  X-Pid      \$pid always;
END
}


sub location {
    my ($name, $endpoint, @directives) = @_;

    unshift @directives, 'token_proxy_cache tokens'
        if !grep { /^token_proxy_cache / } @directives;

    return "location = /$name { token_proxy on; "
        . "token_proxy_endpoint $endpoint; "
        . join('', map { "$_; " } @directives) . "}\n";
}


sub member {
    my ($response, $name) = @_;
    my $answer = eval { decode_json($response->{content}) };

    return ref $answer eq 'HASH' ? $answer->{$name} : undef;
}


sub token { member($_[0], 'access_token') }
sub status { $_[0]{headers}{'x-cache'} }


# A test: the response has a token, which is not the one before.
sub another {
    my ($response, $before, $name) = @_;
    my $token = token($response);
    my $test = Test::Builder->new;

    return $test->ok(defined $token && defined $before && $token ne $before, $name)
        || $test->diag("after ", $before // 'no token', ": $response->{content}");
}


sub no_secrets {
    my ($nginx, @more) = @_;
    my $test = Test::Builder->new;
    my @lines = split /\n/, $nginx->error_log;
    my @found;

    die "the error log is not one for debugging\n"
        if !grep { /\[debug\] .*http token / } @lines;

    for my $line (@lines) {
        push @found, $line if grep { $line =~ /$_/ }
            qr/\b[AR]T-\d/, qr/my-secret/, qr/bXkta2V5Om15LXNlY3JldA/, @more;
    }

    $test->ok(!@found, 'no secret, no token in the error log')
        or $test->diag(join "\n", @found > 5 ? @found[0 .. 4] : @found);
}


# nginx's shared memory is anonymous: to the kernel a deleted /dev/zero.
sub shared_memory {
    my ($pid) = @_;
    my @zones;

    no warnings 'portable';
    open my $mem, '<:raw', "/proc/$pid/mem" or die "/proc/$pid/mem: $!\n";

    for (split /\n/, slurp("/proc/$pid/maps")) {
        my ($from, $to) = m{^(\w+)-(\w+) rw-s .*/dev/zero} or next;

        sysseek $mem, hex $from, 0;
        sysread $mem, my $bytes, hex($to) - hex $from;
        push @zones, [hex $from, $bytes];
    }

    return @zones;
}

1;
