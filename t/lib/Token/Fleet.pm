package Token::Fleet;

# Machines that share a store: so many nginx, each with a zone of its own.
#
#     my $fleet = Token::Fleet->new(
#         store    => $store->url,    # and more of token_proxy_cache_store
#         machines => 3,              # and 2 workers each, unless "workers" says
#         http     => '...',          # more lines of http
#         server   => '...',          # the locations
#         log_level => 'info')->start;
#     my @got = $fleet->at_once('/token', 100);    # callers of each machine
#     $fleet->get(0, '/token');                    # one caller of the first one
#     my $load = $fleet->load('/token', seconds => 30);
#     my $result = $load->();                      # as Token::Client's, of all
#     $fleet->said(qr/store/);                     # lines of the logs that match
#     tokens(@got);                                # a hash: how many have which
#     unanswered(@got);                            # those without a token
#     $PATIENT             # parameters with which no delay is too long

use strict;
use warnings;

use Exporter qw(import);
use Token::Cache qw(token zone);
use Token::Client;
use Token::Server;

our @EXPORT = qw(tokens unanswered $PATIENT);

# For a test of something else: a busy machine is not taken for a store that is
# away.
our $PATIENT = ' connect_timeout=5s timeout=5s';


sub new {
    my ($class, %options) = @_;
    my $self = bless { machines => 3, workers => 2, log_level => 'info',
        http => '', server => '', env => {}, %options }, $class;

    $self->{nginx} = [map { Token::Server->new } 1 .. $self->{machines}];
    $self->configure;
    return $self;
}


sub configure {
    my ($self, %options) = @_;

    @$self{ keys %options } = values %options;

    my $directive = length $self->{store}
        ? "token_proxy_cache_store $self->{store};" : '';

    $_->configure(http => zone() . "$directive\n$self->{http}",
        map { $_ => $self->{$_} } qw(workers log_level server env))
        for $self->machines;

    return $self;
}


sub machines { @{ $_[0]{nginx} } }
sub start { $_->start for $_[0]->machines; return $_[0] }
sub reload { $_->reload for $_[0]->machines; return $_[0] }
sub stop { $_->stop for $_[0]->machines; return $_[0] }
sub get { my ($self, $n, @more) = @_; return $self->{nginx}[$n]->get(@more) }


sub at_once {
    my ($self, $path, $callers, $seconds) = @_;
    my @clients = map { Token::Client->new($_->port) } $self->machines;

    for (1 .. $callers) {
        $_->send($path) for @clients;
    }

    return map { $_->receive($seconds // 15) } @clients;
}


sub load {
    my ($self, $path, %options) = @_;
    my @loads = map { Token::Client->load($_->port, $path, processes => 1,
        gap => 0.005, %options) } $self->machines;

    return sub {
        my %all = (requests => 0, failed => 0, slowest => 0, why => {}, tokens => {});

        for my $result (map { $_->stop } @loads) {
            $all{$_} += $result->{$_} for qw(requests failed);
            $all{slowest} = $result->{slowest} if $result->{slowest} > $all{slowest};

            for my $what (qw(why tokens)) {
                $all{$what}{$_} += $result->{$what}{$_} for keys %{ $result->{$what} };
            }
        }

        return \%all;
    };
}


sub said {
    my ($self, $pattern) = @_;

    return map { grep { /$pattern/ } split /\n/, $_->error_log } $self->machines;
}


sub tokens {
    my %tokens;

    $tokens{ token($_) // 'none' }++ for @_;
    return \%tokens;
}


sub unanswered { return grep { ($_->{status} // 0) != 200 || !token($_) } @_ }

1;
