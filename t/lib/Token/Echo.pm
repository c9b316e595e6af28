package Token::Echo;

# A token endpoint and an API in one process, whose answers tell what they were
# asked, so that a test can see that an answer belongs to its request.
#
#     my $echo = Token::Echo->new;
#     $echo->url('/token');
#
# /token  {"access_token":"AT-K.N",...}, with K the refresh token or the scope
#         that was sent, and N the number of requests with this K so far. A K
#         that begins with "fail" gets 500.
# /page   an SSI page that includes /uncached and /miss, with its arguments
# other   "METHOD URI AUTHORIZATION body=BYTES". With "refuse" in the URI the
#         first token of each K gets 401.
#
# "delay=SECONDS" in the query delays an answer. K has the characters of words,
# "." and "-".

use strict;
use warnings;

use IO::Poll qw(POLLERR POLLHUP POLLIN);
use IO::Socket::INET;
use POSIX ();
use Time::HiRes qw(time);
use Token::Util qw(end_child);


sub new {
    my ($class) = @_;

    my $listen = IO::Socket::INET->new(
        LocalAddr => '127.0.0.1', Proto => 'tcp', Listen => 4096)
        or die "echo: $!\n";
    my $pid = fork // die "echo: $!\n";

    if ($pid == 0) {
        $SIG{PIPE} = 'IGNORE';
        eval { serve($listen); 1 } or print STDERR "echo: $@";
        POSIX::_exit(0);
    }

    return bless { pid => $pid, owner => $$, port => $listen->sockport },
        $class;
}


sub port { $_[0]{port} }
sub url { "http://127.0.0.1:$_[0]{port}$_[1]" }


sub DESTROY { end_child($_[0]) }


# The child's part from here on.

sub serve {
    my ($listen) = @_;
    my $poll = IO::Poll->new;
    my %input;
    my %calls;
    my @due;

    $listen->blocking(0);
    $poll->mask($listen => POLLIN);

    while (1) {
        my ($first) = sort { $a <=> $b } map { $_->{at} } @due;
        my $wait = defined $first ? $first - time : -1;

        $poll->poll(defined $first && $wait < 0 ? 0 : $wait);

        for my $socket ($poll->handles(POLLIN | POLLHUP | POLLERR)) {
            if ($socket == $listen) {
                while (my $client = $listen->accept) {
                    $input{$client} = '';
                    $poll->mask($client => POLLIN);
                }

            } elsif (!sysread $socket, $input{$socket}, 65536,
                length $input{$socket})
            {
                $poll->remove($socket);
                delete $input{$socket};
                @due = grep { $_->{socket} != $socket } @due;
                close $socket;

            } elsif (my $request = request(\$input{$socket})) {
                my ($delay) = $request->{uri} =~ /[?&]delay=([\d.]+)/;

                push @due, { at => time + ($delay // 0), socket => $socket,
                    bytes => answer($request, \%calls) };
            }
        }

        my $now = time;

        syswrite $_->{socket}, $_->{bytes} for grep { $_->{at} <= $now } @due;
        @due = grep { $_->{at} > $now } @due;
    }
}


sub request {
    my ($input) = @_;
    my $head = index $$input, "\r\n\r\n";

    return undef if $head < 0;

    my $text = substr $$input, 0, $head;
    my ($length) = $text =~ /^Content-Length: (\d+)/mi;

    return undef if length $$input < $head + 4 + ($length // 0);

    my ($method, $uri) = $text =~ /^(\S+) (\S+)/;
    my ($authorization) = $text =~ /^Authorization: ([^\r]+)/mi;
    my $body = substr $$input, $head + 4, $length // 0;

    $$input = '';
    return { method => $method, uri => $uri, body => $body,
        authorization => $authorization // '-' };
}


sub answer {
    my ($request, $calls) = @_;
    my ($uri, $body) = @$request{qw(uri body)};

    return page($uri) if $uri =~ m{^/page};

    if ($uri =~ m{^/token}) {
        my ($k) = $body =~ /\b(?:refresh_token|scope)=([\w.-]+)/;
        my $n = ++$calls->{ $k //= '' };

        return response(500, 'application/json', '{"error":"x"}')
            if $k =~ /^fail/;
        return response(200, 'application/json',
            qq({"access_token":"AT-$k.$n","refresh_token":"RT-$k.$n",)
            . '"token_type":"Bearer","expires_in":3600}');
    }

    my $refused = $uri =~ /refuse/ && $request->{authorization} =~ /\.1$/;

    return response($refused ? 401 : 200, 'text/plain', sprintf
        '%s %s %s body=%d', @$request{qw(method uri authorization)},
        length $body);
}


sub page {
    my ($uri) = @_;
    my ($query) = $uri =~ /\?(.*)/;
    my @includes = map { qq(<!--#include virtual="$_?$query" -->) }
        '/uncached', '/miss';

    return response(200, 'text/html', join '|', @includes);
}


sub response {
    my ($status, $type, $body) = @_;

    return "HTTP/1.1 $status Status\r\nContent-Type: $type\r\nContent-Length: "
        . length($body) . "\r\n\r\n$body";
}

1;
